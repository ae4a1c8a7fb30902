//! Public keys, from a JWK set (RFC 7517, RFC 8037), each bound to the one algorithm it may be used with (RFC 8725, 3.1).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use messenger_core::{Cache, Error};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::claims::invalid;

pub(crate) const PUBLIC_KEY_BYTES: usize = 32;
/// RFC 7518, 3.3: 2,048 bits at least. Beyond 8,192 a signature costs more than a handshake may.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
/// Keys of one issuer that are kept, so that its set cannot take the memory.
const KEYS_MAX: usize = 64;
/// Tokens by one key that need no second check while they are used, and at most twice as many: about 1 MB.
const TOKENS_CHECKED_MAX: usize = 8_192;

/// SHA-256 of a whole token, its signature included.
type TokenDigest = [u8; 32];

/// A public key with the one algorithm it verifies.
pub(crate) struct Key {
    key: DecodingKey,
    validation: Validation,
    /// Tokens whose signature held. What they claim is no part of this: it is read and judged anew each time.
    checked: Mutex<Cache<TokenDigest, ()>>,
}

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        // All claims are checked by us, against our clock and with their JSON types.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { key, validation, checked: Mutex::new(Cache::new(TOKENS_CHECKED_MAX)) }
    }

    /// The claims of a token whose header names this key, when the signature holds.
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str, header: &Header) -> Result<T, Error> {
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(invalid());
        }
        let digest: TokenDigest = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes");
        if self.checked().get(&digest).is_some() {
            return claims(token).ok_or_else(invalid);
        }
        let verified = jsonwebtoken::decode::<T>(token, &self.key, &self.validation).map_err(|_| invalid())?;
        self.checked().insert(digest, ());
        Ok(verified.claims)
    }

    fn checked(&self) -> MutexGuard<'_, Cache<TokenDigest, ()>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a token claims, its signature not looked at.
fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    serde_json::from_slice(&bytes(token.split('.').nth(1))?).ok()
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

#[cfg(test)]
mod tests {
    use messenger_core::{SessionId, Timestamp, UserId};

    use super::*;
    use crate::{AccessClaims, Identity, Signer, TokenRules};

    #[test]
    fn a_signature_that_held_is_no_other_tokens() {
        let signer = Signer::from_pkcs8("k", &Signer::generate().expect("random")).expect("a key");
        let keys = parse(&jwks(&[signer.jwk()]), Accepts::OwnOnly).expect("one key");
        let now = Timestamp::from_millis(1_000);
        let (user_id, session_id) = (UserId::new(now), SessionId::new(now));
        let identity = Identity { user_id, session_id, issued_at: now, expires_at: now };
        let signed = AccessClaims::new(&TokenRules::default(), identity, "a".to_owned());
        let token = signer.sign(&signed);
        let verify = |token: &str| {
            let header = jsonwebtoken::decode_header(token).expect("a header");
            keys["k"].verify::<AccessClaims>(token, &header)
        };
        for _ in 0..2 {
            assert_eq!(verify(&token).expect("signed"), signed);
        }
        // The same claims under another signature, and other claims under this one.
        let other = signer.sign(&AccessClaims { jti: "b".to_owned(), ..signed });
        let halves = |token: &str| token.rsplit_once('.').map(|(claims, sign)| (claims.to_owned(), sign.to_owned()));
        let ((claims, sign), (other_claims, other_sign)) =
            halves(&token).zip(halves(&other)).expect("three parts each");
        for forged in [format!("{claims}.{other_sign}"), format!("{other_claims}.{sign}")] {
            assert!(verify(&forged).is_err(), "{forged}");
        }
        verify(&other).expect("signed, too");
    }
}
