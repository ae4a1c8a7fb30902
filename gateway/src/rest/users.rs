//! `users/*`: one's own profile, others, and finding them.

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use http::StatusCode;
use messenger_core::{Error, UserId};
use messenger_proto::auth::v1 as proto;
use messenger_rpc::request_as;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Caller, Json, Path, Query, count},
    json, next_cursor,
};
use crate::{objects::UserObject, problem::Answer, session::Gateway};

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(get_own, update_own)).routes(routes!(get))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// The beginning of a word of the name, or a whole e-mail address.
    #[param(value_type = String, min_length = 1, max_length = 100)]
    search: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Users<'a> {
    users: Vec<UserObject<'a>>,
    /// `null` on the last page.
    next_cursor: Option<&'a str>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProfileChange {
    #[schema(min_length = 1, max_length = 200)]
    full_name: Option<String>,
    #[schema(max_length = 200)]
    designation: Option<String>,
}

/// Finds users.
#[utoipa::path(get, path = "", tag = "users", params(Search), responses((status = 200, body = Users)))]
async fn search(State(gateway): State<Arc<Gateway>>, caller: Caller, Query(query): Query<Search>) -> Answer {
    let request = proto::SearchUsersRequest {
        query: query.search.ok_or_else(|| Error::invalid("search", "is required"))?,
        page_size: count("limit", query.limit.as_deref(), 100)?,
        page_token: query.cursor.unwrap_or_default(),
    };
    let answer = gateway.services.auth.clone().search_users(request_as(caller.user_id(), request)).await?.into_inner();
    let users = answer.users.iter().map(UserObject::of).collect();
    Ok(json(StatusCode::OK, &Users { users, next_cursor: next_cursor(&answer.next_page_token) }))
}

/// The caller.
#[utoipa::path(get, path = "/me", tag = "users", responses((status = 200, body = UserObject)))]
async fn get_own(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Answer {
    let request = proto::GetUserRequest { user_id: caller.user_id().to_string() };
    let answer = gateway.services.auth.clone().get_user(request_as(caller.user_id(), request)).await?.into_inner();
    Ok(json(StatusCode::OK, &UserObject::own(&answer.user.unwrap_or_default())))
}

/// Changes the caller's profile; what is left out stays.
#[utoipa::path(patch, path = "/me", tag = "users", responses((status = 200, body = UserObject)))]
async fn update_own(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Json(ProfileChange { full_name, designation }): Json<ProfileChange>,
) -> Answer {
    let request = proto::UpdateUserRequest { full_name, designation };
    let answer = gateway.services.auth.clone().update_user(request_as(caller.user_id(), request)).await?.into_inner();
    Ok(json(StatusCode::OK, &UserObject::own(&answer.user.unwrap_or_default())))
}

/// A user as others see it.
#[utoipa::path(get, path = "/{id}", tag = "users", responses((status = 200, body = UserObject)))]
async fn get(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let request = proto::GetUserRequest { user_id: UserId::parse("id", &id)?.to_string() };
    let answer = gateway.services.auth.clone().get_user(request_as(caller.user_id(), request)).await?.into_inner();
    Ok(json(StatusCode::OK, &UserObject::of(&answer.user.unwrap_or_default())))
}

/// Those of these users who exist, by their ids; asks nobody about none.
///
/// # Errors
/// As `AuthService.BatchGetUsers`.
pub(super) async fn by_ids(
    gateway: &Gateway,
    caller: UserId,
    user_ids: Vec<String>,
) -> Result<HashMap<String, proto::User>, tonic::Status> {
    if user_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let request = request_as(caller, proto::BatchGetUsersRequest { user_ids });
    let users = gateway.services.auth.clone().batch_get_users(request).await?.into_inner().users;
    Ok(users.into_iter().map(|user| (user.id.clone(), user)).collect())
}
