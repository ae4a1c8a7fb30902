//! The one `Error` as a gRPC status and back. The code travels as `ErrorInfo.reason`, broken fields as `BadRequest`.

use std::{collections::HashMap, error::Error as _, time::Duration};

use messenger_core::{Error, ErrorKind, FieldViolation};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetails, ErrorInfo, RpcStatusExt as _, StatusExt as _};

const DOMAIN: &str = "messenger";
const RETRY_AFTER: &str = "retryAfterMs";
/// What tonic says when its own timer ended a call.
const TONIC_TIMED_OUT: &str = "Timeout expired";

/// The status for a caller. Logs the cause of INTERNAL and UNAVAILABLE, which a caller never sees; an error that came
/// by [`from_status`] has none: it was logged where it arose.
#[must_use]
pub fn to_status(error: Error) -> Status {
    if let Some(cause) = error.source() {
        match error.kind() {
            ErrorKind::Internal => tracing::error!(%cause, "internal error"),
            ErrorKind::Unavailable => tracing::warn!(%cause, "unavailable"),
            _ => {}
        }
    }
    status_of(&error)
}

fn status_of(error: &Error) -> Status {
    let retry_after = error.retry_after().map(|after| (RETRY_AFTER.to_owned(), after.as_millis().to_string()));
    let mut details = ErrorDetails::new();
    // For clients that know Google's own words, too.
    if let Some(after) = error.retry_after() {
        details.set_retry_info(Some(after));
    }
    details.set_error_info(error.kind().code(), DOMAIN, HashMap::from_iter(retry_after));
    for violation in error.fields() {
        details.add_bad_request_violation(&*violation.field, &*violation.message);
    }
    Status::with_error_details(code(error.kind()), error.message(), details)
}

/// What a peer answered. A status that is none of our servers' comes from the transport.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let info = status.get_details_error_info();
    match info.as_ref().and_then(known_kind) {
        Some(kind) => error(kind, status.message(), info, status.get_details_bad_request()),
        None => from_transport(status),
    }
}

/// The same for one item of a batch (`DraftOutcome.error`). Logs nothing: a batch fails as one.
#[must_use]
pub fn to_rpc_status(error: &Error) -> tonic_types::Status {
    tonic_types::Status::decode(status_of(error).details()).expect("tonic-types encoded it a moment ago")
}

/// What one item of a batch was answered.
#[must_use]
pub fn from_rpc_status(status: &tonic_types::Status) -> Error {
    let info = status.get_details_error_info();
    match info.as_ref().and_then(known_kind) {
        Some(kind) => error(kind, &status.message, info, status.get_details_bad_request()),
        None => from_transport(&Status::new(Code::from_i32(status.code), status.message.clone())),
    }
}

fn known_kind(info: &ErrorInfo) -> Option<ErrorKind> {
    if info.domain == DOMAIN { ErrorKind::from_code(&info.reason) } else { None }
}

fn error(kind: ErrorKind, message: &str, info: Option<ErrorInfo>, fields: Option<BadRequest>) -> Error {
    let violation = |violation: tonic_types::FieldViolation| FieldViolation {
        field: violation.field.into(),
        message: violation.description.into(),
    };
    let fields = fields.map_or_else(Vec::new, |bad| bad.field_violations.into_iter().map(violation).collect());
    let error = Error::new(kind, message.to_owned()).with_fields(fields);
    let retry_after = info.and_then(|info| info.metadata.get(RETRY_AFTER)?.parse().ok());
    match retry_after {
        Some(millis) => error.with_retry_after(Duration::from_millis(millis)),
        None => error,
    }
}

/// A connection that breaks shows as UNKNOWN, INTERNAL or CANCELLED, depending on where: all mean "try again".
fn from_transport(status: &Status) -> Error {
    let cause = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::DeadlineExceeded => deadline_exceeded(),
        Code::Cancelled if status.message() == TONIC_TIMED_OUT => deadline_exceeded(),
        Code::Unauthenticated => Error::unauthenticated("not authenticated").with_cause(cause),
        Code::PermissionDenied => Error::forbidden("not allowed").with_cause(cause),
        Code::NotFound => Error::not_found("not found").with_cause(cause),
        Code::InvalidArgument => Error::new(ErrorKind::ValidationFailed, "not a valid request").with_cause(cause),
        Code::OutOfRange => Error::new(ErrorKind::PayloadTooLarge, "the message is too large").with_cause(cause),
        Code::ResourceExhausted => Error::new(ErrorKind::RateLimited, "too many requests").with_cause(cause),
        Code::Unimplemented | Code::AlreadyExists | Code::FailedPrecondition | Code::Ok => Error::internal(cause),
        _ => Error::unavailable(cause),
    }
}

pub(crate) fn deadline_exceeded() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "it took longer than the caller would wait")
}

/// The table of the public contract.
const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unauthenticated
        | ErrorKind::TokenExpired
        | ErrorKind::TokenRevoked
        | ErrorKind::InvalidCredentials => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::ValidationFailed
        | ErrorKind::MessageTooLong
        | ErrorKind::UnknownEvent
        | ErrorKind::MalformedFrame
        | ErrorKind::CursorInvalid => Code::InvalidArgument,
        ErrorKind::EmailTaken | ErrorKind::IdempotencyKeyReused => Code::AlreadyExists,
        ErrorKind::LastAdmin | ErrorKind::GroupFull | ErrorKind::VersionConflict => Code::FailedPrecondition,
        ErrorKind::ResyncRequired => Code::OutOfRange,
        ErrorKind::PayloadTooLarge | ErrorKind::RateLimited => Code::ResourceExhausted,
        ErrorKind::Unavailable | ErrorKind::Draining => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> impl Iterator<Item = Error> {
        ErrorKind::ALL.into_iter().map(|kind| {
            let fields = vec![FieldViolation { field: "name".into(), message: "must not be empty".into() }];
            Error::new(kind, format!("{} é", kind.code()))
                .with_fields(fields)
                .with_retry_after(Duration::from_millis(1_500))
        })
    }

    fn assert_same(left: &Error, right: &Error) {
        assert_eq!(left.kind(), right.kind());
        assert_eq!(left.message(), right.message());
        assert_eq!(left.fields(), right.fields());
        assert_eq!(left.retry_after(), right.retry_after());
    }

    #[test]
    fn every_kind_survives_the_way() {
        for error in every_error() {
            let headers = status_of(&error).into_http::<()>().into_parts().0.headers;
            let received = Status::from_header_map(&headers).expect("a status");
            assert_same(&from_status(&received), &error);
            assert_same(&from_rpc_status(&to_rpc_status(&error)), &error);
            let told = received.get_details_retry_info().and_then(|info| info.retry_delay);
            assert_eq!(told, error.retry_after(), "in Google's words, too");
        }
    }

    #[test]
    fn nothing_optional_stays_nothing() {
        let error = from_status(&to_status(Error::not_found("no such conversation")));
        assert!(error.fields().is_empty() && error.retry_after().is_none());
    }

    #[test]
    fn causes_stay_here() {
        let status = to_status(Error::internal("password is hunter2"));
        assert!(!format!("{status:?}").contains("hunter2"));
        assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
        assert!(from_status(&status).source().is_none());
    }

    #[test]
    fn foreign_statuses_by_their_code() {
        let kind = |code, message: &str| from_status(&Status::new(code, message)).kind();
        for code in [Code::Unknown, Code::Internal, Code::Cancelled, Code::Aborted, Code::Unavailable] {
            assert_eq!(kind(code, "h2 protocol error"), ErrorKind::Unavailable);
        }
        assert_eq!(kind(Code::Cancelled, TONIC_TIMED_OUT), ErrorKind::DeadlineExceeded);
        assert_eq!(kind(Code::Unimplemented, ""), ErrorKind::Internal);
        assert_eq!(kind(Code::OutOfRange, ""), ErrorKind::PayloadTooLarge);
    }
}
