//! What an access token says.

use std::time::Duration;

use messenger_core::{Error, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// What is signed (RFC 7519). Each is required, and of this JSON type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The user.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Invalid from here on, seconds since the epoch.
    pub exp: i64,
    /// Issued at, seconds since the epoch with microseconds behind the point, so that a login right after a revocation
    /// is not taken for one before it.
    pub iat: f64,
    /// Unique name of this token.
    pub jti: String,
    /// What it may be used for: always [`AccessClaims::TYPE`].
    pub typ: String,
}

impl AccessClaims {
    /// The `typ` of access tokens; a refresh token never has it.
    pub const TYPE: &str = "access";

    /// Claims for a user's session between two times.
    #[must_use]
    pub fn new(rules: &TokenRules, identity: Identity, jti: String) -> Self {
        Self {
            sub: identity.user_id,
            sid: identity.session_id,
            iss: rules.issuer.clone(),
            aud: rules.audience.clone(),
            exp: identity.expires_at.as_secs(),
            iat: identity.issued_at.as_micros() as f64 / MICROS_PER_SECOND,
            jti,
            typ: Self::TYPE.to_owned(),
        }
    }
}

pub(crate) const MICROS_PER_SECOND: f64 = 1_000_000.0;
/// 9999-12-31: what is beyond cannot be shown as RFC 3339.
pub(crate) const SECONDS_MAX: i64 = 253_402_300_799;
/// Ours live 15 min at most: what claims more than this is none. What ends tokens is remembered a little longer.
pub(crate) const OWN_LIFE_MAX: Duration = Duration::from_secs(16 * 60);
/// How far the clock of whoever issued a token may be ahead of ours.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// What is read from a token: the claims, and those of others that restrict it.
#[derive(Debug, Deserialize)]
pub(crate) struct ReceivedClaims {
    #[serde(flatten)]
    claims: AccessClaims,
    #[serde(default)]
    nbf: Option<f64>,
}

impl ReceivedClaims {
    /// Checks all but signature and revocation.
    pub(crate) fn check(self, rules: &TokenRules, now: Timestamp) -> Result<Identity, Error> {
        let Self { claims, nbf } = self;
        let is_ours = claims.iss == rules.issuer && claims.aud == rules.audience && claims.typ == AccessClaims::TYPE;
        let has_times = (0..=SECONDS_MAX).contains(&claims.exp) && (0.0..=SECONDS_MAX as f64).contains(&claims.iat);
        let has_begun = nbf.is_none_or(|nbf| nbf <= now.as_micros() as f64 / MICROS_PER_SECOND);
        if !is_ours || !has_times || !has_begun || claims.jti.is_empty() {
            return Err(invalid());
        }
        let issued_at = Timestamp::from_micros((claims.iat * MICROS_PER_SECOND).round() as i64);
        let expires_at = Timestamp::from_parts(claims.exp, 0);
        // With a key that leaked nobody makes tokens for a time when the key is long withdrawn.
        if issued_at > now.plus(SKEW) || expires_at.since(issued_at) > OWN_LIFE_MAX {
            return Err(invalid());
        }
        Ok(Identity { user_id: claims.sub, session_id: claims.sid, issued_at, expires_at })
    }
}

/// The same answer to whatever is wrong with a token.
pub(crate) fn invalid() -> Error {
    Error::unauthenticated("the access token is not valid")
}

/// Who a verified access token speaks for, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// The session it logged in by.
    pub session_id: SessionId,
    /// When the token was issued.
    pub issued_at: Timestamp,
    /// From when the token is no longer good (whole seconds).
    pub expires_at: Timestamp,
}

/// Whose tokens are accepted, and for whom they must be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self { issuer: "messenger".to_owned(), audience: "messenger".to_owned() }
    }
}
