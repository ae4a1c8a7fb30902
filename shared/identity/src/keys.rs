//! Public keys, from a JWK set (RFC 7517, RFC 8037), each bound to the one algorithm it may be used with (RFC 8725, 3.1).

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use messenger_core::Error;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::claims::invalid;

pub(crate) const PUBLIC_KEY_BYTES: usize = 32;
/// RFC 7518, 3.3: 2,048 bits at least. Beyond 8,192 a signature costs more than a handshake may.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
/// Keys of one issuer that are kept, so that its set cannot take the memory.
const KEYS_MAX: usize = 64;

/// A public key with the one algorithm it verifies.
#[derive(Clone)]
pub(crate) struct Key {
    key: DecodingKey,
    validation: Validation,
}

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        // All claims are checked by us, against our clock and with their JSON types.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { key, validation }
    }

    /// The claims of a token whose header names this key, when the signature holds.
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str, header: &Header) -> Result<T, Error> {
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(invalid());
        }
        let verified = jsonwebtoken::decode::<T>(token, &self.key, &self.validation);
        verified.map(|token| token.claims).map_err(|_| invalid())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.validation.algorithms)
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

/// Which keys of a set are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Ed25519, as auth signs.
    OwnOnly,
    /// RSA, P-256, P-384 and Ed25519: what other identity systems sign with.
    Foreign,
}

/// The usable keys for signatures of a JWK set, by key id; others in it are left out.
pub(crate) fn parse(jwks_json: &str, accepts: Accepts) -> Result<HashMap<String, Key>, Error> {
    let unusable = |message| Error::invalid("jwks", message);
    let set: JwkSet = serde_json::from_str(jwks_json).map_err(|_| unusable("is not a JWK set"))?;
    let keys = set.keys.into_iter().filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
    let keys: HashMap<_, _> = keys.filter_map(|jwk| verifying_key(&jwk, accepts)).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err(unusable("has no usable key with a kid"));
    }
    Ok(keys)
}

fn verifying_key(jwk: &Jwk, accepts: Accepts) -> Option<(String, Key)> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let (default, others, key) = match (jwk.kty.as_str(), jwk.crv.as_deref(), accepts) {
        ("OKP", Some("Ed25519"), _) => (Algorithm::EdDSA, &[][..], ed25519(jwk)?),
        ("RSA", None, Accepts::Foreign) => (Algorithm::RS256, &RSA_OTHERS[..], rsa(jwk)?),
        ("EC", Some("P-256"), Accepts::Foreign) => (Algorithm::ES256, &[][..], elliptic(jwk, 32)?),
        ("EC", Some("P-384"), Accepts::Foreign) => (Algorithm::ES384, &[][..], elliptic(jwk, 48)?),
        _ => return None,
    };
    let algorithm = match jwk.alg.as_deref().map(str::parse::<Algorithm>) {
        None => default,
        Some(Ok(named)) if named == default || others.contains(&named) => named,
        Some(_) => return None,
    };
    Some((jwk.kid.clone()?, Key::new(algorithm, key)))
}

/// Beside RS256, which an RSA key that names no algorithm is for.
const RSA_OTHERS: [Algorithm; 5] =
    [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

fn ed25519(jwk: &Jwk) -> Option<DecodingKey> {
    let x = bytes(jwk.x.as_deref())?;
    (x.len() == PUBLIC_KEY_BYTES).then(|| DecodingKey::from_ed_der(&x))
}

fn rsa(jwk: &Jwk) -> Option<DecodingKey> {
    let (n, e) = (bytes(jwk.n.as_deref())?, bytes(jwk.e.as_deref())?);
    let is_usable = RSA_MODULUS_BYTES.contains(&n.len()) && n[0] != 0 && (3..=8).contains(&e.len());
    is_usable.then(|| DecodingKey::from_rsa_raw_components(&n, &e))
}

fn elliptic(jwk: &Jwk, length: usize) -> Option<DecodingKey> {
    let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
    let is_point = [x, y].into_iter().all(|text| bytes(Some(text)).is_some_and(|bytes| bytes.len() == length));
    if is_point { DecodingKey::from_ec_components(x, y).ok() } else { None }
}

fn bytes(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
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
