//! The one error: a closed kind with a stable code, a message for people, a cause for the log.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use serde::Serialize;

/// What went wrong, as clients know it. The list of the public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No usable credential.
    Unauthenticated,
    /// The access token's time is over.
    TokenExpired,
    /// The session was ended.
    TokenRevoked,
    /// Unknown account or wrong password.
    InvalidCredentials,
    /// Known, but not allowed.
    Forbidden,
    /// Not there, or not for the caller to know of.
    NotFound,
    /// A value breaks a rule; see the fields.
    ValidationFailed,
    /// Content over its limit.
    MessageTooLong,
    /// No such event.
    UnknownEvent,
    /// Not what the protocol has.
    MalformedFrame,
    /// Not one of our cursors.
    CursorInvalid,
    /// The address has an account.
    EmailTaken,
    /// The client message id was used with other content or another target.
    IdempotencyKeyReused,
    /// The group would lose its last ADMIN.
    LastAdmin,
    /// The group would grow over its limit.
    GroupFull,
    /// The conversation has another version than the one that was to be changed.
    VersionConflict,
    /// The cursor cannot be continued from: fetch anew.
    ResyncRequired,
    /// Body or frame over its limit.
    PayloadTooLarge,
    /// Too many requests.
    RateLimited,
    /// Something needed is away; try again.
    Unavailable,
    /// This process is going away; connect anew.
    Draining,
    /// It took longer than the caller would wait.
    DeadlineExceeded,
    /// Our fault; the log has the cause.
    Internal,
}

impl ErrorKind {
    /// Every kind there is.
    pub const ALL: [Self; 23] = [
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::InvalidCredentials,
        Self::Forbidden,
        Self::NotFound,
        Self::ValidationFailed,
        Self::MessageTooLong,
        Self::UnknownEvent,
        Self::MalformedFrame,
        Self::CursorInvalid,
        Self::EmailTaken,
        Self::IdempotencyKeyReused,
        Self::LastAdmin,
        Self::GroupFull,
        Self::VersionConflict,
        Self::ResyncRequired,
        Self::PayloadTooLarge,
        Self::RateLimited,
        Self::Unavailable,
        Self::Draining,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The stable public code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::ValidationFailed => "VALIDATION_FAILED",
            Self::MessageTooLong => "MESSAGE_TOO_LONG",
            Self::UnknownEvent => "UNKNOWN_EVENT",
            Self::MalformedFrame => "MALFORMED_FRAME",
            Self::CursorInvalid => "CURSOR_INVALID",
            Self::EmailTaken => "EMAIL_TAKEN",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::LastAdmin => "LAST_ADMIN",
            Self::GroupFull => "GROUP_FULL",
            Self::VersionConflict => "VERSION_CONFLICT",
            Self::ResyncRequired => "RESYNC_REQUIRED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Draining => "DRAINING",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The kind with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Draining | Self::DeadlineExceeded)
    }
}

/// One field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldViolation {
    /// The field's public (camelCase) name.
    pub field: Cow<'static, str>,
    /// What is wrong with it, for people.
    pub message: Cow<'static, str>,
}

/// What every fallible function of ours returns. Kind, message and fields are public; the cause is not.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    message: Cow<'static, str>,
    fields: Vec<FieldViolation>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), fields: Vec::new(), retry_after: None, cause: None }))
    }

    /// One field breaks a rule.
    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid_fields(vec![FieldViolation { field: field.into(), message: message.into() }])
    }

    /// Fields break rules; `fields` is not empty.
    #[must_use]
    pub fn invalid_fields(fields: Vec<FieldViolation>) -> Self {
        let text = fields.iter().map(|f| format!("{} {}", f.field, f.message)).collect::<Vec<_>>().join("; ");
        let mut error = Self::new(ErrorKind::ValidationFailed, text);
        error.0.fields = fields;
        error
    }

    /// Not there, or not for the caller to know of.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Known, but not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    /// No usable credential.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unauthenticated, message)
    }

    /// Something needed is away.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Unavailable, "temporarily unavailable, try again").with_cause(cause)
    }

    /// This process is going away; another one serves.
    #[must_use]
    pub fn draining() -> Self {
        Self::new(ErrorKind::Draining, "this server is going away, connect anew")
    }

    /// Our fault: the cause goes to the log, never to the caller.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, "internal error").with_cause(cause)
    }

    /// With the cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The same error for another caller: one that is logged once has its cause once.
    #[must_use]
    pub fn without_cause(&self) -> Self {
        let Parts { kind, message, fields, retry_after, .. } = &*self.0;
        let (message, fields) = (message.clone(), fields.clone());
        Self(Box::new(Parts { kind: *kind, message, fields, retry_after: *retry_after, cause: None }))
    }

    /// With violations of fields.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldViolation>) -> Self {
        self.0.fields = fields;
        self
    }

    /// With the time after which trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields that break a rule.
    #[must_use]
    pub fn fields(&self) -> &[FieldViolation] {
        &self.0.fields
    }

    /// When to try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.code(), self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(cause) = &self.0.cause {
            write!(f, " (cause: {cause})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_ref().map(|cause| &**cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn the_cause_is_not_in_the_public_text() {
        let error = Error::internal("password is hunter2");
        assert!(!error.to_string().contains("hunter2"));
        assert!(format!("{error:?}").contains("hunter2"));
    }
}
