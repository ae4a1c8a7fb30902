//! `conversations/{id}/participants` and leaving.

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use http::StatusCode;
use messenger_core::{ConversationId, Error, UserId};
use messenger_proto::{auth::v1 as auth, conversation::v1 as proto, event::v1 as event, message::v1 as message};
use messenger_rpc::request_as;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    change,
    extract::{Caller, Expected, Json, Page, Path, Query},
    json, next_cursor, users,
};
use crate::{
    objects::{ParticipantObject, UserObject, time_if_any},
    problem::{Answer, Problem, ProblemBody},
    session::Gateway,
};

/// Users asked for in one `ListReadPositions`.
const READ_POSITIONS_PER_CALL_MAX: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(update, remove)).routes(routes!(leave))
}

/// A participant and who it is.
#[derive(Serialize, ToSchema)]
struct NamedParticipant<'a> {
    #[serde(flatten)]
    participant: ParticipantObject<'a>,
    /// Left out when the account is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserObject<'a>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Participants<'a> {
    participants: Vec<NamedParticipant<'a>>,
    /// `null` on the last page.
    next_cursor: Option<&'a str>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewParticipants {
    /// 1 to 1,000.
    user_ids: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
struct RoleChange {
    #[schema(pattern = "^(ADMIN|MEMBER)$")]
    role: String,
}

/// Who takes part.
#[utoipa::path(get, path = "/{id}/participants", tag = "participants", params(Page), responses(
    (status = 200, body = Participants),
))]
async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let conversation_id = ConversationId::parse("id", &id)?;
    let request = proto::ListParticipantsRequest {
        conversation_id: conversation_id.to_string(),
        page_size: page.rows()?,
        page_token: page.cursor.unwrap_or_default(),
    };
    let request = request_as(caller.user_id(), request);
    let answer = gateway.services.conversation.clone().list_participants(request).await?.into_inner();
    let beside = Beside::read(&gateway, caller.user_id(), conversation_id, &answer.participants).await?;
    let participants = answer.participants.iter().map(|participant| beside.name(participant)).collect();
    Ok(json(StatusCode::OK, &Participants { participants, next_cursor: next_cursor(&answer.next_page_token) }))
}

/// Adds users; those who take part already are left as they are. For ADMINs.
#[utoipa::path(post, path = "/{id}/participants", tag = "participants", params(Expected), responses(
    (status = 200, body = Participants),
    (status = 403, description = "Not an ADMIN", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "GROUP_FULL, VERSION_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn add(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(expected): Query<Expected>,
    Json(NewParticipants { user_ids }): Json<NewParticipants>,
) -> Answer {
    let conversation_id = ConversationId::parse("id", &id)?;
    let (id, expected_version) = (conversation_id.to_string(), expected.version()?);
    let request = proto::AddParticipantsRequest { conversation_id: id, user_ids, expected_version };
    let request = request_as(caller.user_id(), request);
    let mut service = gateway.services.conversation.clone();
    let answer = change(&gateway, &caller, conversation_id, service.add_participants(request)).await?;
    let beside = Beside::read(&gateway, caller.user_id(), conversation_id, &answer.participants).await?;
    let participants = answer.participants.iter().map(|participant| beside.name(participant)).collect();
    Ok(json(StatusCode::OK, &Participants { participants, next_cursor: None }))
}

/// Gives a participant another role. For ADMINs.
#[utoipa::path(patch, path = "/{id}/participants/{userId}", tag = "participants", params(Expected), responses(
    (status = 200, body = NamedParticipant),
    (status = 403, description = "Not an ADMIN", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "LAST_ADMIN, VERSION_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn update(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((id, user_id)): Path<(String, String)>,
    Query(expected): Query<Expected>,
    Json(RoleChange { role }): Json<RoleChange>,
) -> Answer {
    let conversation_id = ConversationId::parse("id", &id)?;
    let role = match role.as_str() {
        "ADMIN" => event::Role::Admin,
        "MEMBER" => event::Role::Member,
        _ => return Err(Error::invalid("role", "must be ADMIN or MEMBER").into()),
    };
    let request = proto::UpdateParticipantRequest {
        conversation_id: conversation_id.to_string(),
        user_id: UserId::parse("userId", &user_id)?.to_string(),
        role: role.into(),
        expected_version: expected.version()?,
    };
    let request = request_as(caller.user_id(), request);
    let mut service = gateway.services.conversation.clone();
    let answer = change(&gateway, &caller, conversation_id, service.update_participant(request)).await?;
    let participant = answer.participant.unwrap_or_default();
    let one = std::slice::from_ref(&participant);
    let beside = Beside::read(&gateway, caller.user_id(), conversation_id, one).await?;
    Ok(json(StatusCode::OK, &beside.name(&participant)))
}

/// Removes a participant. ADMINs remove anybody, everybody removes oneself.
#[utoipa::path(delete, path = "/{id}/participants/{userId}", tag = "participants", params(Expected), responses(
    (status = 204),
    (status = 403, description = "Not an ADMIN", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "LAST_ADMIN, VERSION_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn remove(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((id, user_id)): Path<(String, String)>,
    Query(expected): Query<Expected>,
) -> Result<StatusCode, Problem> {
    remove_user(&gateway, &caller, (&id, &expected), UserId::parse("userId", &user_id)?).await
}

/// Leaves the group.
#[utoipa::path(post, path = "/{id}/leave", tag = "participants", params(Expected), responses(
    (status = 204),
    (status = 409, description = "LAST_ADMIN, VERSION_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn leave(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(expected): Query<Expected>,
) -> Result<StatusCode, Problem> {
    remove_user(&gateway, &caller, (&id, &expected), caller.user_id()).await
}

async fn remove_user(
    gateway: &Gateway,
    caller: &Caller,
    (id, expected): (&str, &Expected),
    user_id: UserId,
) -> Result<StatusCode, Problem> {
    let conversation_id = ConversationId::parse("id", id)?;
    let (id, user_id) = (conversation_id.to_string(), user_id.to_string());
    let request =
        proto::RemoveParticipantRequest { conversation_id: id, user_id, expected_version: expected.version()? };
    let (request, mut service) = (request_as(caller.user_id(), request), gateway.services.conversation.clone());
    change(gateway, caller, conversation_id, service.remove_participant(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What other contexts know of participants.
struct Beside {
    read_positions: HashMap<String, message::ReadPosition>,
    users: HashMap<String, auth::User>,
}

impl Beside {
    async fn read(
        gateway: &Gateway,
        caller: UserId,
        conversation_id: ConversationId,
        participants: &[event::Participant],
    ) -> Result<Self, Problem> {
        let user_ids: Vec<String> = participants.iter().map(|participant| participant.user_id.clone()).collect();
        let mut read_positions = HashMap::new();
        for some in user_ids.chunks(READ_POSITIONS_PER_CALL_MAX) {
            let conversation_id = conversation_id.to_string();
            let request = message::ListReadPositionsRequest { conversation_id, user_ids: some.to_vec() };
            let request = request_as(caller, request);
            let answer = gateway.services.message.clone().list_read_positions(request).await?.into_inner();
            read_positions.extend(answer.read_positions.into_iter().map(|read| (read.user_id.clone(), read)));
        }
        Ok(Self { read_positions, users: users::by_ids(gateway, caller, user_ids).await? })
    }

    fn name<'a>(&'a self, participant: &'a event::Participant) -> NamedParticipant<'a> {
        let read = self.read_positions.get(&participant.user_id);
        let last_read_at = time_if_any(read.and_then(|read| read.last_read_at.as_ref()));
        NamedParticipant {
            participant: ParticipantObject::from(participant).with_last_read_at(last_read_at),
            user: self.users.get(&participant.user_id).map(UserObject::of),
        }
    }
}
