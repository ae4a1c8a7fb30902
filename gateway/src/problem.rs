//! The one way an error becomes an HTTP answer: `application/problem+json` (RFC 9457).
//! A handler answers an empty response that carries its [`Problem`]; [`render`] writes the body,
//! because only there the request's id is known. The cause goes to the log, never to the client.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use messenger_core::{Error, ErrorKind, FieldViolation};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;

/// Names a request in the server's log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a handler answers.
pub type Answer = Result<Response, Problem>;

/// An error on its way out.
#[derive(Debug, Clone)]
pub struct Problem {
    error: Arc<Error>,
    status: StatusCode,
}

impl Problem {
    /// With a status of HTTP's own that the list of codes does not know (405, 408, 415).
    pub(crate) fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error: Arc::new(error), status }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = status(error.kind());
        Self::with_status(error, status)
    }
}

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        messenger_rpc::from_status(&status).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The HTTP status of each kind.
const fn status(kind: ErrorKind) -> StatusCode {
    use ErrorKind as Kind;
    match kind {
        Kind::Unauthenticated | Kind::TokenExpired | Kind::TokenRevoked | Kind::InvalidCredentials => {
            StatusCode::UNAUTHORIZED
        }
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::ValidationFailed
        | Kind::MessageTooLong
        | Kind::UnknownEvent
        | Kind::MalformedFrame
        | Kind::CursorInvalid => StatusCode::BAD_REQUEST,
        Kind::EmailTaken | Kind::IdempotencyKeyReused | Kind::LastAdmin | Kind::GroupFull | Kind::VersionConflict => {
            StatusCode::CONFLICT
        }
        Kind::ResyncRequired => StatusCode::GONE,
        Kind::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable | Kind::Draining => StatusCode::SERVICE_UNAVAILABLE,
        Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error as clients see it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: `code` says what it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// For people.
    detail: &'a str,
    /// Stable, for programs.
    code: &'static str,
    /// The fields that break a rule.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Option<Vec<Field>>)]
    fields: &'a [FieldViolation],
    /// Names this request in the server's log.
    request_id: &'a str,
}

/// One field that breaks a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of messenger_core::FieldViolation, which knows nothing of OpenAPI")]
pub struct Field {
    /// The field's name, as a path when it lies deeper.
    field: String,
    /// What is wrong with it, for people.
    message: String,
}

/// Writes the body of a response that carries a [`Problem`]; leaves every other as it is.
pub(crate) fn render(request_id: &str, mut response: Response) -> Response {
    let Some(Problem { error, status }) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let kind = error.kind();
    if kind == ErrorKind::Internal {
        tracing::error!(request.id = request_id, ?error, "request failed");
    }
    let body = ProblemBody {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.message(),
        code: kind.code(),
        fields: error.fields(),
        request_id,
    };
    let json = serde_json::to_vec(&body).expect("strings and numbers always encode");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LENGTH, json.len().into());
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if status == StatusCode::UNAUTHORIZED && kind != ErrorKind::InvalidCredentials {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(after) = retry_after(&error) {
        headers.insert(header::RETRY_AFTER, after.into());
    }
    *response.body_mut() = Body::from(json);
    response
}

/// Whole seconds until trying again makes sense, rounded up.
fn retry_after(error: &Error) -> Option<u64> {
    let after = match error.retry_after() {
        Some(after) => after,
        None if error.kind().is_retryable() => Duration::from_secs(1),
        None => return None,
    };
    Some((after.as_millis().div_ceil(1_000) as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_failure() {
        for kind in ErrorKind::ALL {
            let status = status(kind);
            assert!(status.is_client_error() || status.is_server_error(), "{kind:?}");
        }
    }

    #[test]
    fn waiting_is_in_whole_seconds() {
        let limited = |millis| {
            let error = Error::new(ErrorKind::RateLimited, "slower").with_retry_after(Duration::from_millis(millis));
            retry_after(&error)
        };
        assert_eq!((limited(1), limited(1_000), limited(1_001)), (Some(1), Some(1), Some(2)));
        assert_eq!(retry_after(&Error::forbidden("no")), None);
    }

    #[tokio::test]
    async fn the_cause_is_never_written() {
        let response = render("r", Problem::from(Error::internal("secret")).into_response());
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("all of it is here");
        let text = std::str::from_utf8(&body).expect("JSON");
        assert!(!text.contains("secret"), "{text}");
        let problem: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!((&problem["code"], &problem["detail"]), (&"INTERNAL".into(), &"internal error".into()));
    }
}
