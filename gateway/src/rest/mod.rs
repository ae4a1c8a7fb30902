//! REST: every handler decodes, makes one call to a service, encodes. One file per resource.

mod auth;
mod conversations;
mod extract;
mod hold;
mod layers;
mod limits;
mod messages;
mod openapi;
mod operations;
mod participants;
mod sync;
mod users;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use messenger_core::{ConversationId, Error, ErrorKind};
use messenger_rpc::from_status;
use serde::Serialize;
use tonic::Status;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use self::{extract::Caller, limits::AuthLimits};
use crate::{page, problem::Problem, session::Gateway};

/// Where the API lives.
const PREFIX: &str = "/api/v1";
/// Largest body taken, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The API, its description, what operators ask for, and the pages for people.
pub fn routes(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let resources = OpenApiRouter::with_openapi(openapi::base())
        .nest(&format!("{PREFIX}/auth"), auth::routes())
        .nest(&format!("{PREFIX}/users"), users::routes())
        .nest(&format!("{PREFIX}/conversations"), conversations::routes())
        .nest(&format!("{PREFIX}/conversations"), participants::routes())
        .nest(&format!("{PREFIX}/conversations"), messages::routes())
        .merge(operations::routes())
        .layer(from_fn(layers::deadline))
        // Waits by design, with a deadline of its own.
        .nest(PREFIX, sync::routes());
    let (router, description) = resources.split_for_parts();
    let mut router = router.merge(operations::descriptions(description)).merge(page::routes());
    if gateway.config.rate_limits() {
        router = router.layer(Extension(Arc::new(AuthLimits::new(gateway.config.logins_per_minute))));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(hold::hold))
        .layer(CatchPanicLayer::custom(|_| Problem::from(Error::internal("a handler panicked")).into_response()))
        .layer(from_fn_with_state(Arc::clone(gateway), layers::origin))
        .layer(layers::cors(&gateway.config.allowed_origins))
        .layer(from_fn_with_state(Arc::clone(gateway), layers::observe))
}

/// Makes a call that changes a conversation, counted as [`messenger_rpc::SendLimits::change`] does.
async fn change<T>(
    gateway: &Gateway,
    caller: &Caller,
    conversation: ConversationId,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Error> {
    gateway.rates.sends.change((caller.user_id(), conversation), answered(call)).await
}

/// What a service answers, or refuses with.
async fn answered<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Error> {
    call.await.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}

async fn not_found() -> Problem {
    Error::not_found("there is nothing here").into()
}

async fn method_not_allowed() -> Problem {
    let error = Error::new(ErrorKind::ValidationFailed, "this method is not allowed here");
    Problem::with_status(error, StatusCode::METHOD_NOT_ALLOWED)
}

/// A JSON answer.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(json) => {
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
        }
        Err(error) => Problem::from(Error::internal(error)).into_response(),
    }
}

/// A page token for the answer; none on the last page.
fn next_cursor(token: &str) -> Option<&str> {
    Some(token).filter(|token| !token.is_empty())
}
