//! What operators and tools ask for: health, metrics, limits, keys and the description of the API.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use messenger_core::Error;
use messenger_proto::auth::v1::GetJwksRequest;
use tonic::Request;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{json, openapi::with_problems};
use crate::{limits::Limits, problem::Answer, session::Gateway};

/// The events of both sockets in the form of AsyncAPI 3.0.
const EVENTS: &str = include_str!("../../../docs/asyncapi/asyncapi.json");

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(config))
        .routes(routes!(jwks))
}

/// Serves the descriptions of the API itself: what REST answers, encoded once, and the events of the sockets.
pub(super) fn descriptions(rest: OpenApi) -> Router<Arc<Gateway>> {
    let rest = serde_json::to_vec(&with_problems(rest)).expect("a description always encodes");
    let serve = |json: Bytes| get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json) });
    Router::new()
        .route("/openapi.json", serve(rest.into()))
        .route("/asyncapi.json", serve(Bytes::from_static(EVENTS.as_bytes())))
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200)))]
async fn healthz() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

/// Whether it can do its work: the feed runs and it is not shutting down.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses((status = 200)))]
async fn readyz(State(gateway): State<Arc<Gateway>>) -> Answer {
    if gateway.is_ready() {
        return Ok(json(StatusCode::OK, &serde_json::json!({ "status": "ready" })));
    }
    Err(Error::unavailable("not ready").into())
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(()), responses(
    (status = 200, body = String, content_type = "text/plain"),
))]
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let text_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text_type)], gateway.metrics.render()).into_response()
}

/// The public keys access tokens are verified with, as a JWK set (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "operations", security(()), responses((status = 200, body = Object)))]
async fn jwks(State(gateway): State<Arc<Gateway>>) -> Answer {
    let answer = gateway.services.auth.clone().get_jwks(Request::new(GetJwksRequest::default())).await?.into_inner();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, answer.jwks).into_response())
}

/// The limits in force.
#[utoipa::path(get, path = "/config", tag = "operations", security(()), responses((status = 200, body = Limits)))]
async fn config(State(gateway): State<Arc<Gateway>>) -> Response {
    json(StatusCode::OK, &Limits::of(&gateway.config))
}
