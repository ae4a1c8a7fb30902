//! The keys that sign access tokens: read from the store, taking turns, noticed by every process while it runs.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use messenger_core::{Clock, Result, Timestamp};
use messenger_identity::{Signer, jwks};
use uuid::Uuid;

use crate::{
    model::{Keys, SigningKey, StoredSecret},
    refresh::random_secret,
    seal::{self, Seal},
    store::{Replaces, Store},
};

/// From the first time a new key is published to its first signature: twice what verifiers wait between two looks.
pub const PUBLISHED_BEFORE: Duration = Duration::from_secs(120);
/// How long a key is published after its last signature: longer than an access token lives (15 min).
const PUBLISHED_AFTER: Duration = Duration::from_secs(20 * 60);
const REFRESH_PURPOSE: &str = "refresh tokens";

/// The signing keys as this process has them.
pub struct KeyRing {
    store: Store,
    clock: Arc<dyn Clock>,
    seal: Option<Seal>,
    ring: RwLock<Arc<Ring>>,
}

/// In the order in which they sign; never empty.
struct Ring {
    signers: Vec<(Timestamp, Arc<Signer>)>,
    jwks: String,
}

impl KeyRing {
    /// Reads the keys, makes them when the store has none, and encrypts those that are not when there is a seal. Gives
    /// the secret of refresh tokens beside them.
    ///
    /// # Errors
    /// VALIDATION_FAILED, for the operator, when they are encrypted with another secret.
    pub async fn open(store: Store, clock: Arc<dyn Clock>, seal: Option<Seal>) -> Result<(Self, Vec<u8>)> {
        let stored = store.agree_on_keys(new_keys(seal.as_ref())?, clock.now()).await?;
        let ring = RwLock::new(Arc::new(Ring::read(&stored, seal.as_ref())?));
        let refresh_secret = seal::open(seal.as_ref(), &stored.refresh_secret, REFRESH_PURPOSE)?;
        let ring = Self { store, clock, seal, ring };
        ring.encrypt(stored).await?;
        Ok((ring, refresh_secret))
    }

    /// Reads the keys again; whether there are others now.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away; those of [`Self::open`].
    pub async fn look(&self) -> Result<bool> {
        self.store.purge_keys(self.clock.now().minus(PUBLISHED_AFTER)).await?;
        let ring = Ring::read(&self.store.keys().await?, self.seal.as_ref())?;
        let is_other = ring.jwks != self.ring().jwks;
        if is_other {
            tracing::info!(keys = ring.signers.len(), "the signing keys have changed");
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        }
        Ok(is_other)
    }

    /// The key that signs at this time.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Arc<Signer> {
        let ring = self.ring();
        let in_turn = ring.signers.iter().rev().find(|(from, _)| *from <= now);
        Arc::clone(&in_turn.unwrap_or(&ring.signers[0]).1)
    }

    /// The public keys as a JWK set (RFC 7517): of those that sign, have signed and will sign.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.ring().jwks.clone()
    }

    /// Adds a key; gives its name and the time it begins to sign.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away, INTERNAL when another is added at the same time.
    pub async fn rotate(&self, replaces: Replaces) -> Result<(String, Timestamp)> {
        let now = self.clock.now();
        let signs_from = match replaces {
            Replaces::InTurn => now.plus(PUBLISHED_BEFORE),
            Replaces::All => now,
        };
        let key = new_key(self.seal.as_ref(), signs_from)?;
        let kid = key.kid.clone();
        self.store.add_key(key, replaces, now).await?;
        Ok((kid, signs_from))
    }

    /// The names of the keys, and from when each signs.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Timestamp)> {
        self.ring().signers.iter().map(|(from, signer)| (signer.kid().to_owned(), *from)).collect()
    }

    async fn encrypt(&self, stored: Keys) -> Result<()> {
        let Some(seal) = &self.seal else { return Ok(()) };
        for key in stored.signing.into_iter().filter(|key| key.private_key.sealed_by.is_none()) {
            let sealed = seal.close(&key.private_key.bytes, &purpose(&key.kid))?;
            self.store.seal_key(&key.kid, sealed).await?;
            tracing::info!(key.id = key.kid, "a signing key in the store was encrypted");
        }
        if stored.refresh_secret.sealed_by.is_none() {
            let sealed = seal.close(&stored.refresh_secret.bytes, REFRESH_PURPOSE)?;
            self.store.seal_refresh_secret(sealed).await?;
        }
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ring {
    fn read(keys: &Keys, seal: Option<&Seal>) -> Result<Self> {
        let mut signers = Vec::with_capacity(keys.signing.len());
        for key in &keys.signing {
            let private_key = seal::open(seal, &key.private_key, &purpose(&key.kid))?;
            signers.push((key.signs_from, Arc::new(Signer::from_pkcs8(&key.kid, &private_key)?)));
        }
        let published: Vec<_> = signers.iter().map(|(_, signer)| signer.jwk()).collect();
        Ok(Self { signers, jwks: jwks(&published) })
    }
}

/// A private key stored under another's name is not taken for that one's.
fn purpose(kid: &str) -> String {
    format!("signing key {kid}")
}

fn new_keys(seal: Option<&Seal>) -> Result<Keys> {
    let refresh_secret: StoredSecret = seal::close(seal, &random_secret()?, REFRESH_PURPOSE)?;
    Ok(Keys { signing: vec![new_key(seal, Timestamp::default())?], refresh_secret })
}

fn new_key(seal: Option<&Seal>, signs_from: Timestamp) -> Result<SigningKey> {
    let kid = Uuid::new_v4().to_string();
    let private_key = seal::close(seal, &Signer::generate()?, &purpose(&kid))?;
    Ok(SigningKey { kid, private_key, signs_from })
}
