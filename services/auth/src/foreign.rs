//! Other identity systems whose tokens are accepted: their keys, fetched here for every process, and kept in the store
//! for when they are away.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use messenger_core::{Clock, Error, Result};
use messenger_identity::{ClaimNames, ForeignIssuer, TokenRules};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const JWKS_BYTES_MAX: usize = 256 * 1024;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long whoever met an unknown key waits for a look.
const LOOK_WITHIN: Duration = Duration::from_secs(3);

/// How often other systems are asked for their keys.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After a good answer.
    pub again: Duration,
    /// After none.
    pub retry: Duration,
    /// Between two looks for keys that tokens name and nobody knows, at least.
    pub unknown_key: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let [again, retry, unknown_key] = [300, 10, 60].map(Duration::from_secs);
        Self { again, retry, unknown_key }
    }
}

/// Where a system's JWK set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksLocation {
    /// `https`, or `http` where that is allowed.
    Url(String),
    /// A file on this machine.
    File(PathBuf),
}

/// Another identity system, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `iss` and `aud` of its tokens.
    pub rules: TokenRules,
    /// Where its tokens say what.
    pub claims: ClaimNames,
    /// Where its keys are.
    pub jwks: JwksLocation,
}

/// Their keys.
pub struct Foreign {
    sources: Vec<Source>,
    store: Store,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    pace: Pace,
    /// Beside each source; empty until there are any.
    jwks: RwLock<Vec<String>>,
    /// Beside each source: whether it did when it was last asked.
    answers: Vec<AtomicBool>,
    looks: Notify,
    looked_at: Mutex<Option<Instant>>,
    rounds: watch::Sender<u64>,
}

impl Foreign {
    /// With the keys that were last fetched; nothing is asked before [`Self::follow`] runs.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away; INTERNAL when no HTTP client can be made.
    pub async fn open(sources: Vec<Source>, store: Store, clock: Arc<dyn Clock>, pace: Pace) -> Result<Self> {
        let mut jwks = Vec::with_capacity(sources.len());
        for source in &sources {
            jwks.push(store.foreign_keys(&source.rules.issuer).await?.unwrap_or_default());
        }
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::internal)?;
        let answers = sources.iter().map(|_| AtomicBool::new(false)).collect();
        let (jwks, looks, looked_at) = (RwLock::new(jwks), Notify::new(), Mutex::new(None));
        Ok(Self { sources, store, clock, http, pace, jwks, answers, looks, looked_at, rounds: watch::Sender::new(0) })
    }

    /// The systems and their keys, for verifiers.
    #[must_use]
    pub fn issuers(&self) -> Vec<ForeignIssuer> {
        let jwks = self.jwks.read().unwrap_or_else(PoisonError::into_inner);
        let both = self.sources.iter().zip(jwks.iter());
        both.map(|(Source { rules, claims, .. }, jwks)| ForeignIssuer {
            rules: rules.clone(),
            claims: claims.clone(),
            jwks: jwks.clone(),
        })
        .collect()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn knows(&self, issuer: &str) -> bool {
        self.sources.iter().any(|source| source.rules.issuer == issuer)
    }

    /// Takes over what another process has fetched of a system that does not answer this one. True if something changed.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn look_at_store(&self) -> Result<bool> {
        let mut is_changed = false;
        for (number, source) in self.sources.iter().enumerate() {
            if self.answers[number].load(Ordering::Relaxed) {
                continue;
            }
            let Some(kept) = self.store.foreign_keys(&source.rules.issuer).await? else { continue };
            let mut jwks = self.jwks.write().unwrap_or_else(PoisonError::into_inner);
            is_changed |= jwks[number] != kept;
            jwks[number] = kept;
        }
        Ok(is_changed)
    }

    /// Fetches the keys until the shutdown: at once, every 5 minutes, and when a token names one nobody knows. Calls
    /// `on_look` after each.
    pub async fn follow(&self, on_look: impl Fn(), shutdown: CancellationToken) {
        if self.sources.is_empty() {
            return;
        }
        let mut failing = vec![false; self.sources.len()];
        loop {
            for (number, source) in self.sources.iter().enumerate() {
                let looked = self.look_at(number, source).await;
                if let Err(error) = &looked
                    && !failing[number]
                {
                    tracing::warn!(issuer = source.rules.issuer, ?error, "no keys; the last ones stay in force");
                }
                failing[number] = looked.is_err();
                self.answers[number].store(looked.is_ok(), Ordering::Relaxed);
            }
            on_look();
            self.rounds.send_modify(|round| *round += 1);
            let pause = if failing.contains(&true) { self.pace.retry } else { self.pace.again };
            tokio::select! {
                () = shutdown.cancelled() => return,
                // Elapsed or notified: either way it is time.
                _ = timeout(pause, self.looks.notified()) => {}
            }
        }
    }

    /// A token names a key nobody knows: looks again, at most once a minute, and waits for it.
    pub async fn look_for_key(&self) {
        let mut rounds = self.rounds.subscribe();
        if self.sources.is_empty() {
            return;
        }
        // The first look is under way by itself.
        if *rounds.borrow_and_update() > 0 {
            if !self.may_look() {
                return;
            }
            self.looks.notify_one();
        }
        let _ = timeout(LOOK_WITHIN, rounds.changed()).await;
    }

    fn may_look(&self) -> bool {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may_look = looked_at.is_none_or(|at| at.elapsed() >= self.pace.unknown_key);
        if may_look {
            *looked_at = Some(Instant::now());
        }
        may_look
    }

    /// A set without a usable key changes nothing.
    async fn look_at(&self, number: usize, source: &Source) -> Result<()> {
        let jwks = self.fetch(&source.jwks).await?;
        let issuer = &source.rules.issuer;
        ForeignIssuer { rules: source.rules.clone(), claims: source.claims.clone(), jwks: jwks.clone() }.check()?;
        let before = self.jwks.read().unwrap_or_else(PoisonError::into_inner)[number].clone();
        if before != jwks {
            self.store.keep_foreign_keys(issuer, &jwks, self.clock.now()).await?;
            self.jwks.write().unwrap_or_else(PoisonError::into_inner)[number] = jwks;
            tracing::info!(issuer, "the keys of another identity system have changed");
        }
        Ok(())
    }

    async fn fetch(&self, location: &JwksLocation) -> Result<String> {
        let bytes = match location {
            JwksLocation::File(file) => tokio::fs::read(file).await.map_err(Error::unavailable)?,
            JwksLocation::Url(url) => self.get(url).await.map_err(Error::unavailable)?,
        };
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(Error::unavailable("a JWK set of over 256 KiB"));
        }
        String::from_utf8(bytes).map_err(Error::unavailable)
    }

    /// At most one chunk beyond the bound is read.
    async fn get(&self, url: &str) -> reqwest::Result<Vec<u8>> {
        let mut answer = self.http.get(url).header("accept", "application/json").send().await?.error_for_status()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > JWKS_BYTES_MAX {
                break;
            }
        }
        Ok(bytes)
    }
}
