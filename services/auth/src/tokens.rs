//! The two tokens of a session: the access token, signed here and verified in every process by the published keys, and
//! the refresh token for the next pair.

use std::{sync::Arc, time::Duration};

use messenger_core::{Timestamp, UserId};
use messenger_identity::{AccessClaims, Identity, TokenRules};
use uuid::Uuid;

use crate::{
    config::TokenConfig,
    keys::KeyRing,
    refresh::{ChainKey, RefreshToken},
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
    keys: Arc<KeyRing>,
    chain_key: ChainKey,
    rules: TokenRules,
    access_lifetime: Duration,
    session_lifetime: Duration,
}

impl Issuer {
    /// Signs with the key whose turn it is.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, refresh_secret: &[u8], config: &TokenConfig) -> Self {
        Self {
            keys,
            chain_key: ChainKey::new(refresh_secret),
            rules: config.rules(),
            access_lifetime: config.access_token_ttl,
            session_lifetime: config.refresh_token_ttl,
        }
    }

    /// The access token beside this refresh token. About 30 us of CPU.
    #[must_use]
    pub fn pair(&self, user_id: UserId, refresh: &RefreshToken, now: Timestamp) -> Tokens {
        let session_id = refresh.session_id();
        let identity = Identity { user_id, session_id, issued_at: now, expires_at: now.plus(self.access_lifetime) };
        let claims = AccessClaims::new(&self.rules, identity, Uuid::new_v4().to_string());
        let access = self.keys.signer(now).sign(&claims);
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
}
