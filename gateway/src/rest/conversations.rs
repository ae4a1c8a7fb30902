//! `conversations` and `conversations/{id}`: a conversation together with the caller's state in it.

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use messenger_core::{ConversationId, Error, Role, Timestamp, UserId};
use messenger_proto::{auth::v1 as auth, conversation::v1 as proto, message::v1 as message};
use messenger_rpc::request_as;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    change,
    extract::{Caller, Expected, Json, Page, Path, Query, idempotency_key},
    json, next_cursor, users,
};
use crate::{
    objects::{ConversationObject, MessageObject, UserObject, role, time_if_any},
    problem::{Answer, Problem, ProblemBody},
    read_position::{ReadPositionObject, up_to},
    session::Gateway,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update)).routes(routes!(mark_read))
}

/// A conversation and the caller's state in it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnConversation<'a> {
    #[serde(flatten)]
    conversation: ConversationObject<'a>,
    #[schema(value_type = String, pattern = "^(ADMIN|MEMBER)$")]
    role: Role,
    /// `null`: never read.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_read_at: Option<Timestamp>,
    last_read_seq: i64,
    last_seq: i64,
    /// Last seq less last read seq.
    unread_count: i64,
    /// `null` as long as nobody wrote.
    last_message: Option<MessageObject<'a>>,
    /// P2P only: the other user.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<UserObject<'a>>,
}

impl<'a> OwnConversation<'a> {
    fn new(
        view: &'a proto::ConversationView,
        state: &'a message::ConversationState,
        peers: &'a HashMap<String, auth::User>,
    ) -> Option<Self> {
        Some(Self {
            conversation: view.conversation.as_ref()?.into(),
            role: role(view.role),
            last_read_at: time_if_any(state.last_read_at.as_ref()),
            last_read_seq: state.last_read_seq,
            last_seq: state.last_seq,
            unread_count: state.unread_count,
            last_message: state.last_message.as_ref().map(Into::into),
            peer: peers.get(&view.peer_user_id).map(UserObject::of),
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Conversations<'a> {
    conversations: Vec<OwnConversation<'a>>,
    /// `null` on the last page.
    next_cursor: Option<&'a str>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewConversation {
    #[schema(pattern = "^(P2P|GROUP)$")]
    r#type: String,
    /// GROUP: 1 to 200 characters.
    name: Option<String>,
    /// GROUP: whether only ADMINs may post.
    #[serde(default)]
    is_restricted: bool,
    /// GROUP: who takes part beside the caller, at most 1,000.
    #[serde(default)]
    member_ids: Vec<String>,
    /// GROUP: the same as the header `Idempotency-Key`.
    #[schema(max_length = 64)]
    client_group_id: Option<String>,
    /// P2P: the other user.
    #[schema(format = Uuid)]
    user_id: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConversationChange {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    is_restricted: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReadUpTo {
    /// This, or `seq`.
    #[schema(format = Uuid)]
    message_id: Option<String>,
    /// This, or `messageId`.
    seq: Option<i64>,
}

/// The caller's conversations, the last active first.
#[utoipa::path(get, path = "", tag = "conversations", params(Page), responses((status = 200, body = Conversations)))]
async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller, Query(page): Query<Page>) -> Answer {
    let user_id = caller.user_id();
    let request =
        message::ListConversationsRequest { page_size: page.rows()?, page_token: page.cursor.unwrap_or_default() };
    let answer = gateway.services.message.clone().list_conversations(request_as(user_id, request)).await?.into_inner();
    let ids = answer.conversations.iter().map(|state| state.conversation_id.clone()).collect();
    let views = views(&gateway, user_id, ids).await?;
    let peer_ids = views.values().filter(|view| !view.peer_user_id.is_empty());
    let peers = users::by_ids(&gateway, user_id, peer_ids.map(|view| view.peer_user_id.clone()).collect()).await?;
    // One the caller has just left is in one answer and not in the other: it is left out.
    let conversations = answer.conversations.iter().filter_map(|state| {
        let view = views.get(&state.conversation_id)?;
        OwnConversation::new(view, state, &peers)
    });
    let conversations = conversations.collect();
    Ok(json(StatusCode::OK, &Conversations { conversations, next_cursor: next_cursor(&answer.next_page_token) }))
}

async fn views(
    gateway: &Gateway,
    caller: UserId,
    conversation_ids: Vec<String>,
) -> Result<HashMap<String, proto::ConversationView>, Problem> {
    if conversation_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let request = request_as(caller, proto::BatchGetConversationsRequest { conversation_ids });
    let answer = gateway.services.conversation.clone().batch_get_conversations(request).await?.into_inner();
    let by_id =
        answer.conversations.into_iter().filter_map(|view| Some((view.conversation.as_ref()?.id.clone(), view)));
    Ok(by_id.collect())
}

/// Makes a group (the caller is its ADMIN), or the P2P conversation with a user if there is none yet. A repeat with the
/// same `Idempotency-Key` answers the group there is.
#[utoipa::path(post, path = "", tag = "conversations",
    params(("Idempotency-Key" = Option<String>, Header, description = "GROUP: clientGroupId, 1 to 64 characters")),
    responses(
        (status = 201, body = OwnConversation),
        (status = 200, description = "The P2P conversation that is there already", body = OwnConversation),
        (status = 404, description = "No such user", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "IDEMPOTENCY_KEY_REUSED", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<NewConversation>,
) -> Answer {
    gateway.rates.sends.create(caller.user_id())?;
    let mut conversations = gateway.services.conversation.clone();
    let required = |field| move || Error::invalid(field, "is required");
    match body.r#type.as_str() {
        "GROUP" => {
            let request = proto::CreateGroupRequest {
                name: body.name.ok_or_else(required("name"))?,
                is_restricted: body.is_restricted,
                member_ids: body.member_ids,
                client_group_id: idempotency_key("clientGroupId", &headers, body.client_group_id)?,
            };
            let answer = conversations.create_group(request_as(caller.user_id(), request)).await?.into_inner();
            own(&gateway, &caller, StatusCode::CREATED, answer.conversation).await
        }
        "P2P" => {
            let request = proto::GetOrCreateP2pRequest { user_id: body.user_id.ok_or_else(required("userId"))? };
            let answer = conversations.get_or_create_p2p(request_as(caller.user_id(), request)).await?.into_inner();
            let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
            own(&gateway, &caller, status, answer.conversation).await
        }
        _ => Err(Error::invalid("type", "must be P2P or GROUP").into()),
    }
}

/// One of the caller's conversations.
#[utoipa::path(get, path = "/{id}", tag = "conversations", responses((status = 200, body = OwnConversation)))]
async fn get(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let request = proto::GetConversationRequest { conversation_id: ConversationId::parse("id", &id)?.to_string() };
    let request = request_as(caller.user_id(), request);
    let answer = gateway.services.conversation.clone().get_conversation(request).await?.into_inner();
    own(&gateway, &caller, StatusCode::OK, answer.conversation).await
}

/// Changes a group; what is left out stays. For its ADMINs.
#[utoipa::path(patch, path = "/{id}", tag = "conversations", params(Expected), responses(
    (status = 200, body = OwnConversation),
    (status = 403, description = "Not an ADMIN", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "VERSION_CONFLICT", body = ProblemBody, content_type = "application/problem+json"),
))]
async fn update(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(expected): Query<Expected>,
    Json(ConversationChange { name, is_restricted }): Json<ConversationChange>,
) -> Answer {
    let conversation_id = ConversationId::parse("id", &id)?;
    let (id, expected_version) = (conversation_id.to_string(), expected.version()?);
    let request = proto::UpdateConversationRequest { conversation_id: id, name, is_restricted, expected_version };
    let request = request_as(caller.user_id(), request);
    let mut service = gateway.services.conversation.clone();
    let answer = change(&gateway, &caller, conversation_id, service.update_conversation(request)).await?;
    own(&gateway, &caller, StatusCode::OK, answer.conversation).await
}

/// Answers one conversation with the caller's state in it.
async fn own(gateway: &Gateway, caller: &Caller, status: StatusCode, view: Option<proto::ConversationView>) -> Answer {
    let view = view.unwrap_or_default();
    let id = view.conversation.as_ref().map(|conversation| conversation.id.clone()).unwrap_or_default();
    let peer_ids = Some(view.peer_user_id.clone()).filter(|id| !id.is_empty()).into_iter().collect();
    let request = message::BatchGetConversationStatesRequest { conversation_ids: vec![id] };
    let mut messages = gateway.services.message.clone();
    let states = messages.batch_get_conversation_states(request_as(caller.user_id(), request));
    let (states, peers) = tokio::try_join!(states, users::by_ids(gateway, caller.user_id(), peer_ids))?;
    let states = states.into_inner().conversations;
    // No state: removed since the view was read.
    let own = states.first().and_then(|state| OwnConversation::new(&view, state, &peers));
    Ok(json(status, &own.ok_or_else(|| Error::not_found("no such conversation"))?))
}

/// Says that the caller has read up to a message. Read positions only rise.
#[utoipa::path(post, path = "/{id}/read", tag = "conversations", responses((status = 200, body = ReadPositionObject)))]
async fn mark_read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(ReadUpTo { message_id, seq }): Json<ReadUpTo>,
) -> Answer {
    let up_to = Some(up_to(message_id.as_deref(), seq)?);
    let conversation_id = ConversationId::parse("id", &id)?.to_string();
    let request = message::MarkReadRequest { conversation_id: conversation_id.clone(), up_to, origin: 0 };
    let answer = gateway.services.message.clone().mark_read(request_as(caller.user_id(), request)).await?.into_inner();
    Ok(json(StatusCode::OK, &ReadPositionObject::new(&conversation_id, &answer)))
}
