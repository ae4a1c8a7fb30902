//! `auth/*`: registering, logging in, tokens and sessions.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use messenger_core::{SessionId, Timestamp};
use messenger_proto::auth::v1 as proto;
use messenger_rpc::{SESSION_ID, request_as};
use serde::{Deserialize, Serialize};
use tonic::Request;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Caller, Json, Path, UserAgent},
    json,
    limits::Attempt,
};
use crate::{
    objects::{UserObject, time},
    problem::{Answer, Problem, ProblemBody},
    session::Gateway,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(logout_all))
        .routes(routes!(change_password))
        .routes(routes!(list_sessions))
        .routes(routes!(revoke_session))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[schema(format = Email)]
    email: String,
    /// 8 to 128 characters.
    #[schema(format = Password, min_length = 8, max_length = 128)]
    password: String,
    #[schema(min_length = 1, max_length = 200)]
    full_name: String,
    #[serde(default)]
    #[schema(max_length = 200)]
    designation: String,
}

#[derive(Deserialize, ToSchema)]
struct Login {
    #[schema(format = Email)]
    email: String,
    #[schema(format = Password)]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Refresh {
    refresh_token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PasswordChange {
    #[schema(format = Password)]
    current_password: String,
    /// 8 to 128 characters.
    #[schema(format = Password, min_length = 8, max_length = 128)]
    new_password: String,
}

/// A user and its tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LoggedIn<'a> {
    user: UserObject<'a>,
    access_token: &'a str,
    /// Works once; the answer to it holds the next.
    refresh_token: &'a str,
    /// Life of the access token in seconds.
    expires_in: i64,
}

/// One login on one device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionObject<'a> {
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// As the client named itself at login.
    user_agent: &'a str,
    /// Whether it is the one that asks.
    is_current: bool,
}

#[derive(Serialize, ToSchema)]
struct Sessions<'a> {
    sessions: Vec<SessionObject<'a>>,
}

/// Makes an account and logs in.
#[utoipa::path(post, path = "/register", tag = "auth", security(()), responses(
    (status = 201, body = LoggedIn),
    (status = 409, description = "EMAIL_TAKEN", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn register(
    State(gateway): State<Arc<Gateway>>,
    attempt: Attempt,
    UserAgent(user_agent): UserAgent,
    Json(body): Json<Registration>,
) -> Answer {
    attempt.register()?;
    let Registration { email, password, full_name, designation } = body;
    let address = attempt.address();
    let request = proto::RegisterRequest { email, password, full_name, designation, user_agent, address };
    let answer = gateway.services.auth.clone().register(Request::new(request)).await?.into_inner();
    logged_in(StatusCode::CREATED, answer.user, answer.tokens)
}

/// Logs in.
#[utoipa::path(post, path = "/login", tag = "auth", security(()), responses(
    (status = 200, body = LoggedIn),
    (status = 401, description = "INVALID_CREDENTIALS", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn login(
    State(gateway): State<Arc<Gateway>>,
    attempt: Attempt,
    UserAgent(user_agent): UserAgent,
    Json(Login { email, password }): Json<Login>,
) -> Answer {
    attempt.login(&email)?;
    let request = proto::LoginRequest { email, password, user_agent, address: attempt.address() };
    let answer = gateway.services.auth.clone().login(Request::new(request)).await?.into_inner();
    logged_in(StatusCode::OK, answer.user, answer.tokens)
}

/// Gives new tokens for a refresh token, which then works no more.
#[utoipa::path(post, path = "/refresh", tag = "auth", security(()), responses((status = 200, body = LoggedIn)))]
async fn refresh(
    State(gateway): State<Arc<Gateway>>,
    attempt: Attempt,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> Answer {
    attempt.refresh()?;
    let request = proto::RefreshTokenRequest { refresh_token };
    let answer = gateway.services.auth.clone().refresh_token(Request::new(request)).await?.into_inner();
    logged_in(StatusCode::OK, answer.user, answer.tokens)
}

fn logged_in(status: StatusCode, user: Option<proto::User>, tokens: Option<proto::Tokens>) -> Answer {
    let (user, tokens) = (user.unwrap_or_default(), tokens.unwrap_or_default());
    let body = LoggedIn {
        user: UserObject::own(&user),
        access_token: &tokens.access_token,
        refresh_token: &tokens.refresh_token,
        expires_in: tokens.expires_in,
    };
    Ok(json(status, &body))
}

/// For calls about the caller's own session: our credential names the user, this names its login.
fn in_session<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = request_as(caller.user_id(), message);
    let session_id = caller.0.session_id.to_string();
    request.metadata_mut().insert(SESSION_ID, session_id.parse().expect("a UUID is ASCII"));
    request
}

/// Ends the calling session.
#[utoipa::path(post, path = "/logout", tag = "auth", responses((status = 204)))]
async fn logout(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<StatusCode, Problem> {
    gateway.services.auth.clone().logout(in_session(&caller, proto::LogoutRequest {})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every session of the caller.
#[utoipa::path(post, path = "/logout-all", tag = "auth", responses((status = 204)))]
async fn logout_all(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<StatusCode, Problem> {
    gateway.services.auth.clone().logout_all(request_as(caller.user_id(), proto::LogoutAllRequest {})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the password and ends every other session.
#[utoipa::path(post, path = "/password", tag = "auth", responses((status = 204)))]
async fn change_password(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    attempt: Attempt,
    Json(PasswordChange { current_password, new_password }): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    attempt.change_password(caller.user_id())?;
    let request = proto::ChangePasswordRequest { current_password, new_password };
    gateway.services.auth.clone().change_password(in_session(&caller, request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's sessions.
#[utoipa::path(get, path = "/sessions", tag = "auth", responses((status = 200, body = Sessions)))]
async fn list_sessions(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Answer {
    let request = request_as(caller.user_id(), proto::ListSessionsRequest {});
    let answer = gateway.services.auth.clone().list_sessions(request).await?.into_inner();
    let current = caller.0.session_id.to_string();
    let sessions = answer.sessions.iter().map(|session| SessionObject {
        id: &session.id,
        created_at: time(session.created_at.as_ref()),
        last_used_at: time(session.last_used_at.as_ref()),
        user_agent: &session.user_agent,
        is_current: session.id == current,
    });
    Ok(json(StatusCode::OK, &Sessions { sessions: sessions.collect() }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "auth", responses((status = 204)))]
async fn revoke_session(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session_id = SessionId::parse("id", &id)?.to_string();
    let request = request_as(caller.user_id(), proto::RevokeSessionRequest { session_id });
    gateway.services.auth.clone().revoke_session(request).await?;
    Ok(StatusCode::NO_CONTENT)
}
