//! What surrounds every request: its id and span, the deadline, CORS and the security headers.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, header};
use messenger_core::{Error, ErrorKind};
use messenger_rpc::join_request;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{Instrument, Span, field::Empty};
use uuid::Uuid;

use super::extract::IDEMPOTENCY_KEY;
use crate::{
    headers::protect,
    origin,
    problem::{self, Problem, REQUEST_ID},
    session::Gateway,
};

/// How long a request may take, its body included.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a browser may remember that it may call, seconds.
const PREFLIGHT_SECS: u64 = 3_600;

/// Gives the request an id and a span, counts it, and finishes the answer: problems get their body here.
pub(super) async fn observe(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let began = gateway.clock.now();
    let request_id = Uuid::new_v4().to_string();
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "http.request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.method = method,
        http.route = route,
        request.id = request_id,
        http.status = Empty,
    );
    join_request(&span, request.headers());
    let response = async {
        let response = problem::render(&request_id, next.run(request).await);
        Span::current().record("http.status", response.status().as_u16());
        tracing::debug!("answered");
        response
    };
    let mut response = response.instrument(span).await;
    let labels = [("method", method.to_owned()), ("route", route), ("status", response.status().as_u16().to_string())];
    metrics::histogram!("messenger_http_request_seconds", &labels)
        .record(gateway.clock.now().since(began).as_secs_f64());
    finish(&mut response, &request_id);
    response
}

/// A client may invent methods without end: figures are kept of those there are, and none of its words names a span.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn finish(response: &mut Response, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    protect(response);
}

/// Refuses pages of origins that are not allowed, as the sockets do.
pub(super) async fn origin(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if origin::is_allowed(request.headers(), &gateway.config.allowed_origins) {
        return next.run(request).await;
    }
    Problem::from(Error::forbidden("pages of this origin may not call")).into_response()
}

/// Ends a request that takes too long. What it began in a service is finished there.
pub(super) async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(Error::new(ErrorKind::DeadlineExceeded, "it took too long")).into_response(),
    }
}

/// Pages of these origins may read the answers. Never with cookies: there are none.
pub(super) fn cors(allowed_origins: &[String]) -> CorsLayer {
    let any = allowed_origins.iter().any(|origin| origin == "*");
    let listed = allowed_origins.iter().filter(|_| !any).filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(if any { AllowOrigin::any() } else { AllowOrigin::list(listed) })
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, IDEMPOTENCY_KEY])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
        .max_age(Duration::from_secs(PREFLIGHT_SECS))
}
