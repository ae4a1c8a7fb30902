//! Whose tokens are good here: ours by the signing keys, unless accounts are kept elsewhere, and those of other systems.

use std::{sync::Arc, time::Duration};

use messenger_core::{Error, Result};
use messenger_identity::{ForeignIssuer, Verifier};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{foreign::Foreign, keys::KeyRing};

/// Whether users register and log in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// Beside those of other identity systems, if there are any.
    Here,
    /// Only other identity systems know users.
    Elsewhere,
}

/// What verifiers are told, this process's own first.
pub struct Issuers {
    keys: Arc<KeyRing>,
    foreign: Foreign,
    verifier: Arc<Verifier>,
    accounts: Accounts,
}

impl Issuers {
    /// Tells the verifier at once.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, foreign: Foreign, verifier: Arc<Verifier>, accounts: Accounts) -> Self {
        let issuers = Self { keys, foreign, verifier, accounts };
        issuers.tell();
        issuers
    }

    /// The public keys of our tokens as a JWK set; none when accounts are kept elsewhere.
    #[must_use]
    pub fn jwks(&self) -> Option<String> {
        (self.accounts == Accounts::Here).then(|| self.keys.jwks())
    }

    /// Other systems with their keys.
    #[must_use]
    pub fn foreign_issuers(&self) -> Vec<ForeignIssuer> {
        self.foreign.issuers()
    }

    /// This process's own.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        self.verifier.clone()
    }

    /// For what makes and prolongs sessions of ours.
    ///
    /// # Errors
    /// FORBIDDEN when accounts are kept elsewhere.
    pub fn require_own_accounts(&self) -> Result<()> {
        match self.accounts {
            Accounts::Here => Ok(()),
            Accounts::Elsewhere => Err(Error::forbidden("accounts are kept by another identity system")),
        }
    }

    /// For what is said of users of other systems.
    ///
    /// # Errors
    /// NOT_FOUND for one that is not configured.
    pub fn require_issuer(&self, issuer: &str) -> Result<()> {
        if self.foreign.knows(issuer) { Ok(()) } else { Err(Error::not_found("no such issuer is configured")) }
    }

    /// A token names an unknown key: looks for new ones, ours and, at most once a minute, those of others.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn look(&self) -> Result<()> {
        self.look_at_store().await?;
        self.foreign.look_for_key().await;
        Ok(())
    }

    /// Follows the keys of other systems until the shutdown.
    pub async fn follow_foreign(&self, shutdown: CancellationToken) {
        self.foreign.follow(|| self.tell(), shutdown).await;
    }

    /// Follows our own keys until the shutdown, and looks for those that callers of this process show.
    pub async fn follow_own(&self, every: Duration, shutdown: CancellationToken) {
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            let result = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => self.look_at_store().await,
                () = self.verifier.wants_keys().notified() => {
                    self.foreign.look_for_key().await;
                    Ok(())
                }
            };
            // Said once, not every five seconds.
            if let Err(error) = &result
                && !is_failing
            {
                tracing::warn!(?error, "the signing keys cannot be read");
            }
            is_failing = result.is_err();
        }
    }

    /// Other processes of auth make keys and fetch those of other systems, too.
    async fn look_at_store(&self) -> Result<()> {
        let is_new = self.keys.look().await?;
        let foreign = self.foreign.look_at_store().await;
        // Also when only a part of it was read.
        if is_new || !matches!(foreign, Ok(false)) {
            self.tell();
        }
        foreign.map(drop)
    }

    fn tell(&self) {
        self.verifier.set_foreign(self.foreign.issuers());
        if let Some(jwks) = self.jwks()
            && let Err(error) = self.verifier.set_keys(&jwks)
        {
            tracing::error!(?error, "our own keys cannot be used");
        }
    }
}
