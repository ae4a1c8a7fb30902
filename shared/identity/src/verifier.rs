//! The check every process does by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jsonwebtoken::Header;
use messenger_core::{Clock, Error, ErrorKind};
use messenger_telemetry::{Audit, AuditLimit};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::{
    Admission, ClaimNames, ForeignIssuer, ForeignUser, Identity, Revocation, TokenRules,
    admission::Admitted,
    claims::{ReceivedClaims, invalid},
    foreign, install_crypto,
    keys::{self, Accepts, Key},
    revocation::Revocations,
};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Verifies access tokens, ours and those of other systems, by the keys and the revocations auth gives out. Shared by
/// `Arc`.
#[derive(Debug)]
pub struct Verifier {
    rules: TokenRules,
    clock: Arc<dyn Clock>,
    own: RwLock<Arc<HashMap<String, Key>>>,
    foreign: RwLock<Arc<[Trusted]>>,
    revocations: RwLock<Revocations>,
    /// Whether those are known that were there before this process.
    is_caught_up: AtomicBool,
    wants_keys: Notify,
    admission: OnceLock<Arc<dyn Admission>>,
    admitted: Mutex<Admitted>,
    refusals: AuditLimit,
}

/// Another issuer, its keys read.
#[derive(Debug)]
struct Trusted {
    rules: TokenRules,
    claims: ClaimNames,
    keys: HashMap<String, Key>,
}

impl Verifier {
    /// Judges no token before it has keys ([`Verifier::set_keys`], [`Verifier::set_foreign`]) and knows which sessions have
    /// ended ([`Verifier::set_caught_up`]).
    #[must_use]
    pub fn new(rules: TokenRules, clock: Arc<dyn Clock>) -> Self {
        install_crypto();
        Self {
            rules,
            clock,
            own: RwLock::default(),
            foreign: RwLock::new(Arc::new([])),
            revocations: RwLock::default(),
            is_caught_up: AtomicBool::new(false),
            wants_keys: Notify::new(),
            admission: OnceLock::new(),
            admitted: Mutex::default(),
            refusals: AuditLimit::default(),
        }
    }

    /// Replaces the keys by those of auth's JWK set.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is no set, or has no key that could be used; the old keys stay then.
    pub fn set_keys(&self, jwks_json: &str) -> Result<(), Error> {
        let keys = keys::parse(jwks_json, Accepts::OwnOnly)?;
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// No tokens of ours are accepted any more.
    pub fn clear_keys(&self) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// Replaces the other systems whose tokens are accepted; one without a usable key is left out.
    pub fn set_foreign(&self, issuers: Vec<ForeignIssuer>) {
        let trusted = issuers.into_iter().filter_map(|ForeignIssuer { rules, claims, jwks }| {
            let keys = keys::parse(&jwks, Accepts::Foreign).ok()?;
            Some(Trusted { rules, claims, keys })
        });
        *self.foreign.write().unwrap_or_else(PoisonError::into_inner) = trusted.collect();
    }

    /// Who admits users of other systems; the first that is named stays.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        let _ = self.admission.set(admission);
    }

    /// Whether there are keys.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.own().is_empty() || !self.foreign().is_empty()
    }

    /// Every revocation from before is known by now: tokens are judged from here on.
    pub fn set_caught_up(&self) {
        self.is_caught_up.store(true, Ordering::Release);
    }

    /// Whether tokens are judged. Before, each is answered with UNAVAILABLE: it may be good, or one that was revoked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_caught_up.load(Ordering::Acquire) && self.has_keys()
    }

    /// Whose token this is, of whatever system. About 60 us of CPU; asks auth for a token of another system that this
    /// process has not seen.
    ///
    /// # Errors
    /// UNAUTHENTICATED, TOKEN_EXPIRED (good once), TOKEN_REVOKED; UNAVAILABLE before [`Self::is_ready`], and when auth had
    /// to be asked and is away.
    pub async fn identify(&self, token: &str) -> Result<Identity, Error> {
        let (identity, foreign) = self.read(token).or_else(|error| self.refuse(None, error))?;
        let identity = self.in_force(identity).or_else(|error| self.refuse(Some(identity), error))?;
        let Some(user) = foreign else { return Ok(identity) };
        if self.admitted.lock().unwrap_or_else(PoisonError::into_inner).contains(&user) {
            return Ok(identity);
        }
        let admission = self.admission.get().ok_or_else(|| Error::unavailable("nobody admits users of others yet"))?;
        admission.admit(&user).await.or_else(|error| self.refuse(Some(identity), error))?;
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).add(&user);
        Ok(identity)
    }

    /// Records what somebody was refused who should not have tried. That tokens expire is no news.
    fn refuse<T>(&self, identity: Option<Identity>, error: Error) -> Result<T, Error> {
        if !matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::TokenRevoked) {
            return Err(error);
        }
        let (user, session) = (identity.map(|it| it.user_id), identity.map(|it| it.session_id));
        Audit::of("token.refused").by(user).session(session).outcome_within(&self.refusals, Err(error))
    }

    /// Whose token of ours this is; those of other systems are refused. About 40 us of CPU.
    ///
    /// # Errors
    /// UNAUTHENTICATED, TOKEN_EXPIRED (good once), TOKEN_REVOKED; UNAVAILABLE before [`Self::is_ready`].
    pub fn verify(&self, token: &str) -> Result<Identity, Error> {
        match self.read(token)? {
            (identity, None) => self.in_force(identity),
            (_, Some(_)) => Err(invalid()),
        }
    }

    /// Whether a token verified before is still good: neither expired nor revoked since.
    ///
    /// # Errors
    /// TOKEN_EXPIRED, TOKEN_REVOKED.
    pub fn in_force(&self, identity: Identity) -> Result<Identity, Error> {
        if identity.expires_at <= self.clock.now() {
            return Err(Error::new(ErrorKind::TokenExpired, "the access token has expired"));
        }
        if self.is_revoked(&identity) {
            return Err(Error::new(ErrorKind::TokenRevoked, "the session was ended"));
        }
        Ok(identity)
    }

    /// The key is looked up by its name, then must be of the issuer the token names: what one system signs is never
    /// taken for a token of another.
    fn read(&self, token: &str) -> Result<(Identity, Option<ForeignUser>), Error> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        if !self.is_ready() {
            return Err(Error::unavailable("auth has not yet said which tokens are good"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        // An extension that must be understood is none of ours (RFC 7515, 4.1.11).
        let kid = header.kid.as_deref().filter(|_| header.crit.is_none()).ok_or_else(invalid)?;
        let (own, foreign) = (self.own(), self.foreign());
        let mut is_known = false;
        if let Some(key) = own.get(kid) {
            is_known = true;
            if let Ok(claims) = key.verify::<ReceivedClaims>(token, &header) {
                return Ok((claims.check(&self.rules, self.clock.now())?, None));
            }
        }
        for issuer in foreign.iter() {
            let Some(key) = issuer.keys.get(kid) else { continue };
            is_known = true;
            if let Ok((identity, user)) = self.read_foreign(issuer, key, token, &header) {
                return Ok((identity, Some(user)));
            }
        }
        if !is_known {
            self.wants_keys.notify_one();
        }
        Err(invalid())
    }

    fn read_foreign(
        &self,
        issuer: &Trusted,
        key: &Key,
        token: &str,
        header: &Header,
    ) -> Result<(Identity, ForeignUser), Error> {
        let claims: Map<String, Value> = key.verify(token, header)?;
        foreign::read(&issuer.rules, &issuer.claims, (header, &claims), self.clock.now())
    }

    fn own(&self) -> Arc<HashMap<String, Key>> {
        Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn foreign(&self) -> Arc<[Trusted]> {
        Arc::clone(&self.foreign.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a token verified before has been revoked since.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity) -> bool {
        self.revocations.read().unwrap_or_else(PoisonError::into_inner).end(identity)
    }

    /// Refuses what this revocation ends, from now on and for as long as such a token could be good.
    pub fn revoke(&self, revocation: Revocation) {
        let now = self.clock.now();
        self.revocations.write().unwrap_or_else(PoisonError::into_inner).add(revocation, now);
    }

    /// Notified once when a token names a key that is not known: time to fetch the JWK sets.
    #[must_use]
    pub fn wants_keys(&self) -> &Notify {
        &self.wants_keys
    }
}
