//! The check every process does by itself.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use messenger_core::{Clock, Error, ErrorKind};
use tokio::sync::Notify;

use crate::{Identity, Revocation, TokenRules, claims::ReceivedClaims, install_crypto, keys, revocation::Revocations};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Verifies access tokens by auth's public keys and its list of revocations. Shared by `Arc`.
#[derive(Debug)]
pub struct Verifier {
    rules: TokenRules,
    validation: Validation,
    clock: Arc<dyn Clock>,
    keys: RwLock<HashMap<String, DecodingKey>>,
    revocations: RwLock<Revocations>,
    wants_keys: Notify,
}

impl Verifier {
    /// Without keys yet: refuses everything until [`Verifier::set_keys`].
    #[must_use]
    pub fn new(rules: TokenRules, clock: Arc<dyn Clock>) -> Self {
        install_crypto();
        Self {
            rules,
            validation: signature_only(),
            clock,
            keys: RwLock::default(),
            revocations: RwLock::default(),
            wants_keys: Notify::new(),
        }
    }

    /// Replaces the keys by those of a JWK set.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is none, or has no key that could be used; the old keys stay then.
    pub fn set_keys(&self, jwks_json: &str) -> Result<(), Error> {
        let keys = keys::parse(jwks_json)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether there are keys: before, every token is refused.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whose token this is. About 40 us of CPU.
    ///
    /// # Errors
    /// UNAUTHENTICATED, TOKEN_EXPIRED (good once), TOKEN_REVOKED.
    pub fn verify(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.verify_signature(token)?;
        let now = self.clock.now();
        let identity = claims.check(&self.rules, now)?;
        if identity.expires_at <= now {
            return Err(Error::new(ErrorKind::TokenExpired, "the access token has expired"));
        }
        if self.is_revoked(&identity) {
            return Err(Error::new(ErrorKind::TokenRevoked, "the session was ended"));
        }
        Ok(identity)
    }

    fn verify_signature(&self, token: &str) -> Result<ReceivedClaims, Error> {
        let invalid = || Error::unauthenticated("the access token is not valid");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        // An extension that must be understood is none of ours (RFC 7515, 4.1.11).
        if header.alg != Algorithm::EdDSA || header.crit.is_some() {
            return Err(invalid());
        }
        let kid = header.kid.ok_or_else(invalid)?;
        let Some(key) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&kid).cloned() else {
            self.wants_keys.notify_one();
            return Err(invalid());
        };
        let verified = jsonwebtoken::decode::<ReceivedClaims>(token, &key, &self.validation);
        verified.map(|token| token.claims).map_err(|_| invalid())
    }

    /// Whether a token verified before has been revoked since.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.revocations.read().unwrap_or_else(PoisonError::into_inner).end(identity)
    }

    /// Refuses what this revocation ends, from now on and for longer than an access token lives.
    pub fn revoke(&self, revocation: Revocation) {
        let now = self.clock.now();
        self.revocations.write().unwrap_or_else(PoisonError::into_inner).add(revocation, now);
    }

    /// Notified once when a token names a key that is not known: time to fetch the JWK set.
    #[must_use]
    pub fn wants_keys(&self) -> &Notify {
        &self.wants_keys
    }
}

/// All claims are checked by [`ReceivedClaims`], against our clock and with their JSON types.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}
