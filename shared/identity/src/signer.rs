//! The private half, held by auth only.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use messenger_core::Error;
use serde_json::Value;

use crate::{AccessClaims, install_crypto, keys};

/// Signs access tokens with one Ed25519 key.
pub struct Signer {
    kid: String,
    key: EncodingKey,
    public_key: Vec<u8>,
}

impl Signer {
    /// A new key as PKCS#8 (version 1), to be kept in the store.
    ///
    /// # Errors
    /// INTERNAL when the machine has no randomness to give.
    pub fn generate() -> Result<Vec<u8>, Error> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| Error::internal("no signing key could be made"))?;
        Ok(document.as_ref().to_vec())
    }

    /// Signs with this key, named `kid` in the tokens.
    ///
    /// # Errors
    /// INTERNAL when it is no Ed25519 key as PKCS#8.
    pub fn from_pkcs8(kid: &str, pkcs8: &[u8]) -> Result<Self, Error> {
        install_crypto();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .map_err(|_| Error::internal("the stored signing key is no Ed25519 key"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: EncodingKey::from_ed_der(pkcs8),
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }

    /// The token.
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("the key was read once, the claims are plain JSON")
    }

    /// The public key for the JWK set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        keys::jwk(&self.kid, &self.public_key)
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.kid)
    }
}
