//! The two tokens of a session: the access token, signed here and verified in every process by the published keys, and
//! the refresh token for the next pair.

use std::time::Duration;

use messenger_core::{Result, Timestamp, UserId};
use messenger_identity::{AccessClaims, Identity, Signer, TokenRules, jwks};
use uuid::Uuid;

use crate::{
    config::TokenConfig,
    model::{Keys, SigningKey},
    refresh::{ChainKey, RefreshToken, random_secret},
};

/// What a client goes on with.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// JWT.
    pub access: String,
    /// For the next pair, once.
    pub refresh: String,
    /// Life of the access token.
    pub expires_in: Duration,
}

/// Makes tokens.
pub struct Issuer {
    signer: Signer,
    jwks: String,
    chain_key: ChainKey,
    rules: TokenRules,
    access_lifetime: Duration,
    session_lifetime: Duration,
}

impl Issuer {
    /// Signs with the active key; every key is published.
    ///
    /// # Errors
    /// INTERNAL when a stored key is none.
    pub fn new(keys: &Keys, config: &TokenConfig) -> Result<Self> {
        let signer = signer(&keys.active)?;
        let mut published = vec![signer.jwk()];
        for key in &keys.retired {
            published.push(self::signer(key)?.jwk());
        }
        Ok(Self {
            signer,
            jwks: jwks(&published),
            chain_key: ChainKey::new(&keys.refresh_secret),
            rules: config.rules(),
            access_lifetime: config.access_token_ttl,
            session_lifetime: config.refresh_token_ttl,
        })
    }

    /// The access token beside this refresh token. About 30 us of CPU.
    #[must_use]
    pub fn pair(&self, user_id: UserId, refresh: &RefreshToken, now: Timestamp) -> Tokens {
        let session_id = refresh.session_id();
        let identity = Identity { user_id, session_id, issued_at: now, expires_at: now.plus(self.access_lifetime) };
        let claims = AccessClaims::new(&self.rules, identity, Uuid::new_v4().to_string());
        let access = self.signer.sign(&claims);
        Tokens { access, refresh: refresh.encode(), expires_in: self.access_lifetime }
    }

    /// By which a refresh token follows from the one before.
    #[must_use]
    pub const fn chain_key(&self) -> &ChainKey {
        &self.chain_key
    }

    /// When a session ends that nobody uses.
    #[must_use]
    pub const fn session_lifetime(&self) -> Duration {
        self.session_lifetime
    }

    /// The public keys as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }
}

fn signer(key: &SigningKey) -> Result<Signer> {
    Signer::from_pkcs8(&key.kid, &key.private_key)
}

/// Keys for a store that has none.
///
/// # Errors
/// INTERNAL when the machine has no randomness.
pub fn new_keys() -> Result<Keys> {
    let active = SigningKey { kid: Uuid::new_v4().to_string(), private_key: Signer::generate()? };
    Ok(Keys { active, retired: Vec::new(), refresh_secret: random_secret()?.to_vec() })
}
