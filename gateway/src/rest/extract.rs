//! What handlers take from a request: the caller, path, query and JSON body, each with an error a client understands.

use std::{sync::Arc, time::Duration};

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header, request::Parts};
use messenger_core::{Error, ErrorKind, UserId};
use messenger_identity::Identity;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::hold::Hold;
use crate::{peer, problem::Problem, session::Gateway, violation};

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(8);
/// Characters kept of what a client calls itself.
const USER_AGENT_CHARS_MAX: usize = 200;
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who the request is made for.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Identity);

impl Caller {
    pub(super) fn user_id(&self) -> UserId {
        self.0.user_id
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let token = peer::bearer(&parts.headers)?.ok_or_else(|| Error::unauthenticated("a bearer token is needed"))?;
        let identity = gateway.verifier.identify(token).await?;
        gateway.rates.call(identity.user_id)?;
        if let Some(hold) = parts.extensions.get::<Hold>().cloned() {
            hold.take(gateway, identity.user_id).await?;
        }
        Ok(Self(identity))
    }
}

/// From the header or the body's `field`; both only when they say the same.
pub(super) fn idempotency_key(
    field: &'static str,
    headers: &HeaderMap,
    in_body: Option<String>,
) -> Result<Option<String>, Error> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(in_body) };
    match key.to_str() {
        Ok(key) if keys.next().is_none() && in_body.as_deref().is_none_or(|id| id == key) => Ok(Some(key.to_owned())),
        _ => Err(Error::invalid(field, "and one Idempotency-Key header must say the same, in ASCII")),
    }
}

/// What the client calls itself; empty when it does not say.
pub(super) struct UserAgent(pub(super) String);

impl<S: Sync> FromRequestParts<S> for UserAgent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(text.chars().take(USER_AGENT_CHARS_MAX).collect()))
    }
}

/// Path parameters as text; handlers read ids from them.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Sync + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(Error::new(ErrorKind::ValidationFailed, "the path is not valid UTF-8").into()),
        }
    }
}

/// The query string.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(Error::new(ErrorKind::ValidationFailed, "the query string is malformed").into()),
        }
    }
}

/// Reads a whole number between `1` and `max` from a query parameter; 0 (the default) when it is absent.
pub(super) fn count(field: &'static str, text: Option<&str>, max: i32) -> Result<i32, Error> {
    let Some(text) = text else { return Ok(0) };
    match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(Error::invalid(field, format!("must be 1 to {max}"))),
    }
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `nextCursor` of the page before.
    pub(super) cursor: Option<String>,
}

impl Page {
    /// Rows asked for, 1 to 100; 0 for the default.
    pub(super) fn rows(&self) -> Result<i32, Error> {
        count("limit", self.limit.as_deref(), 100)
    }
}

/// What a conversation has to be like for a change of it to be made.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Expected {
    /// `version` of the conversation the change is meant for: VERSION_CONFLICT when it has another one by then.
    #[param(value_type = Option<i64>, minimum = 1)]
    expected_version: Option<String>,
}

impl Expected {
    pub(super) fn version(&self) -> Result<Option<i64>, Error> {
        let invalid = |_| Error::invalid("expectedVersion", "must be a whole number");
        self.expected_version.as_deref().map(|text| text.parse().map_err(invalid)).transpose()
    }
}

/// A JSON object as body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync + Send> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let body = tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, state)).await.map_err(|_| {
            let error = Error::new(ErrorKind::DeadlineExceeded, "the body did not arrive in time");
            Problem::with_status(error, StatusCode::REQUEST_TIMEOUT)
        })?;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::new(ErrorKind::PayloadTooLarge, "the body is over 64 KiB"),
            _ => Error::new(ErrorKind::ValidationFailed, "the body could not be read"),
        })?;
        Ok(Self(decode(&body)?))
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let media_type = text(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let plain = text(header::CONTENT_ENCODING).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    if plain && media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let error = Error::new(ErrorKind::ValidationFailed, "the body must be application/json without content-encoding");
    Err(Problem::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // serde would also read a struct from an array.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::new(ErrorKind::ValidationFailed, "the body must be a JSON object"));
    }
    let not_json = || Error::new(ErrorKind::ValidationFailed, "the body is not valid JSON");
    violation::read_object(body).map_err(|error| error.unwrap_or_else(not_json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let value = |value: &str| http::HeaderValue::from_bytes(value.as_bytes()).expect("no control characters");
        values.iter().map(|text| (IDEMPOTENCY_KEY, value(text))).collect()
    }

    #[test]
    fn header_and_body_agree_or_are_refused() {
        let key =
            |values: &[&'static str], body: Option<&str>| idempotency_key("id", &headers(values), body.map(Into::into));
        assert_eq!(key(&[], None).expect("none"), None);
        assert_eq!(key(&[], Some("a")).expect("body").as_deref(), Some("a"));
        assert_eq!(key(&["a"], None).expect("header").as_deref(), Some("a"));
        assert_eq!(key(&["a"], Some("a")).expect("both").as_deref(), Some("a"));
        assert!(key(&["a"], Some("b")).is_err() && key(&["a", "a"], None).is_err() && key(&["\u{e4}"], None).is_err());
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[expect(dead_code, reason = "only decoded")]
        email: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only decoded")]
        member_ids: Vec<String>,
    }

    fn refused(json: &str) -> Error {
        decode::<Body>(json.as_bytes()).expect_err(json)
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (json, field) in [
            ("{}", "email"),
            (r#"{"email":1}"#, "email"),
            (r#"{"email":["a"]}"#, "email"),
            (r#"{"email":"a","email":"b"}"#, "email"),
            (r#"{"email":"a","memberIds":["b",{}]}"#, "memberIds[1]"),
        ] {
            let error = refused(json);
            assert_eq!(error.fields()[0].field, field, "{json}: {error}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = "[".repeat(100_000);
        let deep_inside = format!(r#"{{"email":{deep}"#);
        for json in ["", "[]", "null", "\"a\"", "{", r#"{"email":"\ud800"}"#, "{}x", &deep, &deep_inside] {
            assert_eq!(refused(json).kind(), ErrorKind::ValidationFailed);
        }
        assert!(decode::<Body>(br#" {"email":"a","isAdmin":true,"__proto__":{}} "#).is_ok());
        assert!(decode::<Body>(b"{\"email\":\"\xff\"}").is_err());
    }

    #[test]
    fn counts() {
        assert_eq!(count("limit", None, 100).expect("default"), 0);
        assert_eq!(count("limit", Some("100"), 100).expect("largest"), 100);
        for text in ["0", "-1", "101", "1e9", "18446744073709551616", "x", ""] {
            assert!(count("limit", Some(text), 100).is_err(), "{text}");
        }
    }
}
