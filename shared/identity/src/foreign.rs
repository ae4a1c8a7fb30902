//! Users of other identity systems, known by the tokens those issue.
//!
//! A subject is a user of ours under an id made from issuer and subject: every process finds the same one without
//! asking, and no two issuers share one, whatever subjects and addresses they hand out.

use std::{fmt, time::Duration};

use aws_lc_rs::digest;
use jsonwebtoken::Header;
use messenger_core::{Error, SessionId, Timestamp, UserId};
use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

use crate::{
    Identity, TokenRules,
    claims::{MICROS_PER_SECOND, SECONDS_MAX, SKEW, invalid},
    keys::{self, Accepts},
};

/// Tokens of others are good for at most this long after they were issued, whatever they say.
pub(crate) const FOREIGN_LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// OpenID Connect Core, 2: a subject has at most 255 (ASCII) characters.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// What is read of a claim about the user.
const TEXT_CHARS_MAX: usize = 254;
/// What a token's `typ` claim says in some systems when it is not meant for calls.
const OTHER_USES: [&str; 4] = ["refresh", "offline", "logout", "id"];

/// Another system whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignIssuer {
    /// The `iss` of its tokens, and their `aud`.
    pub rules: TokenRules,
    /// Where its tokens say what.
    pub claims: ClaimNames,
    /// Its JWK set.
    pub jwks: String,
}

impl ForeignIssuer {
    /// Whether its JWK set can be used.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is no set, or has no usable key with a `kid`.
    pub fn check(&self) -> Result<(), Error> {
        keys::parse(&self.jwks, Accepts::Foreign).map(drop)
    }
}

/// Names of top-level claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// Names a user for good within its issuer.
    pub subject: String,
    /// The e-mail address.
    pub email: String,
    /// The full name.
    pub full_name: String,
    /// The designation.
    pub designation: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let [subject, email, full_name, designation] = ["sub", "email", "name", "designation"].map(str::to_owned);
        Self { subject, email, full_name, designation }
    }
}

/// What a token says of its user.
#[derive(Clone, PartialEq, Eq)]
pub struct ForeignUser {
    /// See [`foreign_user_id`].
    pub user_id: UserId,
    /// Who says it.
    pub issuer: String,
    /// Names the user there.
    pub subject: String,
    /// When it was said.
    pub issued_at: Timestamp,
    /// Trimmed, without control characters, at most 254 characters; none: not said. As the others.
    pub email: Option<String>,
    /// The full name.
    pub full_name: Option<String>,
    /// The designation.
    pub designation: Option<String>,
}

/// Neither names nor addresses reach a log.
impl fmt::Debug for ForeignUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignUser({})", self.user_id)
    }
}

/// The id of an issuer's subject, for ever the same: a UUID version 8 of SHA-256 over both, each behind its length.
#[must_use]
pub fn foreign_user_id(issuer: &str, subject: &str) -> UserId {
    UserId::from_uuid(hashed(&["messenger user", issuer, subject]))
}

fn hashed(parts: &[&str]) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Reads verified claims: all but the signature is checked here, and the end left to the caller.
pub(crate) fn read(
    rules: &TokenRules,
    names: &ClaimNames,
    (header, claims): (&Header, &Map<String, Value>),
    now: Timestamp,
) -> Result<(Identity, ForeignUser), Error> {
    let times = (time(claims, "iat")?, time(claims, "exp")?, time(claims, "nbf")?);
    let (Some(issued_at), Some(expires_at), not_before) = times else { return Err(invalid()) };
    let has_begun = issued_at <= now.plus(SKEW) && not_before.is_none_or(|from| from <= now.plus(SKEW));
    let is_for_us = claims.get("iss").and_then(Value::as_str) == Some(&rules.issuer) && is_for(claims, &rules.audience);
    if !is_for_us || !has_begun || !is_for_calls(header, claims) {
        return Err(invalid());
    }
    let subject = claims.get(&names.subject).and_then(Value::as_str).unwrap_or_default();
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.contains('\0') {
        return Err(invalid());
    }
    let user_id = foreign_user_id(&rules.issuer, subject);
    // Sessions are the other system's business: here a user has one, which any of its tokens goes on with.
    let session_id = SessionId::from_uuid(hashed(&["messenger session", &rules.issuer, subject]));
    // Whoever may write any address there could take that of another (OpenID Connect Core, 5.1).
    // Some systems say so in text.
    let is_verified = claims.get("email_verified").is_none_or(|it| it.is_null() || *it == true || it == "true");
    let user = ForeignUser {
        user_id,
        issuer: rules.issuer.clone(),
        subject: subject.to_owned(),
        issued_at,
        email: text(claims, &names.email).filter(|_| is_verified),
        full_name: text(claims, &names.full_name),
        designation: text(claims, &names.designation),
    };
    let expires_at = expires_at.min(issued_at.plus(FOREIGN_LIFE_MAX));
    Ok((Identity { user_id, session_id, issued_at, expires_at }, user))
}

/// A NumericDate; none when the claim is absent.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=SECONDS_MAX as f64).contains(seconds)).ok_or_else(invalid)?;
    Ok(Some(Timestamp::from_micros((seconds * MICROS_PER_SECOND).round() as i64)))
}

fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// Systems sign other things with the same keys: refresh tokens, identity tokens, logout notices (RFC 8725, 3.11).
fn is_for_calls(header: &Header, claims: &Map<String, Value>) -> bool {
    let header_type = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    let claimed = claims.get("typ").map(|typ| typ.as_str().unwrap_or("id").to_ascii_lowercase());
    let is_access = ["jwt", "at+jwt", "application/at+jwt"].contains(&header_type.as_str());
    is_access && !claimed.is_some_and(|typ| OTHER_USES.contains(&typ.as_str())) && !claims.contains_key("events")
}

fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = claims.get(name)?.as_str()?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
