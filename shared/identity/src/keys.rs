//! Public keys, from a JWK set (RFC 7517, RFC 8037).

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use messenger_core::Error;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const PUBLIC_KEY_BYTES: usize = 32;

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

/// The Ed25519 keys for signatures of a JWK set, by key id; other keys in it are left out.
pub(crate) fn parse(jwks_json: &str) -> Result<HashMap<String, DecodingKey>, Error> {
    let invalid = |message| Error::invalid("jwks", message);
    let set: JwkSet = serde_json::from_str(jwks_json).map_err(|_| invalid("is not a JWK set"))?;
    let keys: HashMap<_, _> = set.keys.iter().filter_map(verifying_key).collect();
    if keys.is_empty() {
        return Err(invalid("has no Ed25519 key with a kid"));
    }
    Ok(keys)
}

fn verifying_key(jwk: &Jwk) -> Option<(String, DecodingKey)> {
    let is_or_unsaid = |value: &Option<String>, wanted| value.as_deref().is_none_or(|value| value == wanted);
    if jwk.kty != "OKP" || jwk.crv.as_deref() != Some("Ed25519") {
        return None;
    }
    if !is_or_unsaid(&jwk.alg, "EdDSA") || !is_or_unsaid(&jwk.usage, "sig") {
        return None;
    }
    let key = URL_SAFE_NO_PAD.decode(jwk.x.as_deref()?).ok().filter(|key| key.len() == PUBLIC_KEY_BYTES)?;
    Some((jwk.kid.clone()?, DecodingKey::from_ed_der(&key)))
}

pub(crate) fn jwk(kid: &str, public_key: &[u8]) -> Value {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x})
}

/// A JWK set as JSON text, of keys as [`Signer::jwk`](crate::Signer::jwk) gives them.
#[must_use]
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
