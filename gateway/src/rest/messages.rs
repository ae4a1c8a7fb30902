//! `conversations/{id}/messages`: history, one message, and sending.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use messenger_core::{ConversationId, Error, MessageId, Timestamp};
use messenger_proto::message::v1::{self as proto, list_messages_request::From as HistoryFrom};
use messenger_rpc::request_as;
use prost_types::Timestamp as ProtoTimestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answered,
    extract::{Caller, Json, Path, Query, count, idempotency_key},
    json,
};
use crate::{
    objects::MessageObject,
    problem::{Answer, ProblemBody},
    session::Gateway,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::new().routes(routes!(list, send)).routes(routes!(get))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct History {
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Older than this message, newest first.
    #[param(format = Uuid)]
    before: Option<String>,
    /// Newer than this message, oldest first.
    #[param(format = Uuid)]
    after: Option<String>,
    /// Half a page on either side of this message and itself, newest first.
    #[param(format = Uuid)]
    around: Option<String>,
    /// From the last message at or before this time on, newest first.
    #[param(format = DateTime)]
    at: Option<String>,
}

impl History {
    /// Where to begin; none for the newest. At most one may be given.
    fn from(&self) -> Result<Option<HistoryFrom>, Error> {
        let id = |field, text: &str| Ok::<_, Error>(MessageId::parse(field, text)?.to_string());
        let Self { before, after, around, at, .. } = self;
        Ok(Some(match (before, after, around, at) {
            (None, None, None, None) => return Ok(None),
            (Some(text), None, None, None) => HistoryFrom::BeforeMessageId(id("before", text)?),
            (None, Some(text), None, None) => HistoryFrom::AfterMessageId(id("after", text)?),
            (None, None, Some(text), None) => HistoryFrom::AroundMessageId(id("around", text)?),
            (None, None, None, Some(text)) => {
                let (seconds, nanos) = Timestamp::parse("at", text)?.to_parts();
                HistoryFrom::At(ProtoTimestamp { seconds, nanos })
            }
            _ => return Err(Error::invalid("before", "after, around and at exclude each other")),
        }))
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Messages<'a> {
    messages: Vec<MessageObject<'a>>,
    /// Whether there are more in the direction asked for.
    has_more: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    /// 1 to 10,000 characters, stored as they are.
    #[schema(min_length = 1, max_length = 10_000)]
    content: String,
    /// The same as the header `Idempotency-Key`.
    #[schema(max_length = 64)]
    client_message_id: Option<String>,
    #[schema(format = Uuid)]
    reply_to_id: Option<String>,
    /// At most 4 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

/// The history of a conversation, a page at a time.
#[utoipa::path(get, path = "/{id}/messages", tag = "messages", params(History), responses(
    (status = 200, body = Messages),
))]
async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(history): Query<History>,
) -> Answer {
    let request = proto::ListMessagesRequest {
        conversation_id: ConversationId::parse("id", &id)?.to_string(),
        page_size: count("limit", history.limit.as_deref(), 100)?,
        from: history.from()?,
    };
    let request = request_as(caller.user_id(), request);
    let answer = gateway.services.message.clone().list_messages(request).await?.into_inner();
    let messages = answer.messages.iter().map(Into::into).collect();
    Ok(json(StatusCode::OK, &Messages { messages, has_more: answer.has_more }))
}

/// Sends a message. A repeat with the same `Idempotency-Key` gets the first answer again.
#[utoipa::path(post, path = "/{id}/messages", tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, description = "clientMessageId, 1 to 64 characters")),
    responses(
        (status = 201, body = MessageObject),
        (status = 200, description = "It had been sent before", body = MessageObject),
        (status = 403, description = "FORBIDDEN: only admins can post messages here", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "IDEMPOTENCY_KEY_REUSED", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
async fn send(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<NewMessage>,
) -> Answer {
    let conversation_id = ConversationId::parse("id", &id)?;
    let draft = proto::Draft {
        target: Some(proto::draft::Target::ConversationId(conversation_id.to_string())),
        content: body.content,
        client_message_id: idempotency_key("clientMessageId", &headers, body.client_message_id)?,
        reply_to_id: body.reply_to_id,
        metadata: body.metadata.map(|json| json.get().to_owned()),
    };
    let request = request_as(caller.user_id(), proto::SendMessageRequest { draft: Some(draft) });
    let mut service = gateway.services.message.clone();
    let send = answered(service.send_message(request));
    let answer = gateway.rates.sends.send((caller.user_id(), conversation_id), send, |sent| sent.repeated).await?;
    let status = if answer.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &MessageObject::from(&answer.message.unwrap_or_default())))
}

/// One message.
#[utoipa::path(get, path = "/{id}/messages/{messageId}", tag = "messages", responses(
    (status = 200, body = MessageObject),
))]
async fn get(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((id, message_id)): Path<(String, String)>,
) -> Answer {
    let request = proto::GetMessageRequest {
        conversation_id: ConversationId::parse("id", &id)?.to_string(),
        message_id: MessageId::parse("messageId", &message_id)?.to_string(),
    };
    let request = request_as(caller.user_id(), request);
    let answer = gateway.services.message.clone().get_message(request).await?.into_inner();
    Ok(json(StatusCode::OK, &MessageObject::from(&answer.message.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_to_begin() {
        let history = |before: Option<&str>, at: Option<&str>| History {
            limit: None,
            before: before.map(Into::into),
            after: None,
            around: None,
            at: at.map(Into::into),
        };
        assert!(history(None, None).from().expect("newest").is_none());
        assert!(history(Some("x"), None).from().is_err());
        assert!(history(None, Some("2026-01-01T00:00:00Z")).from().expect("a time").is_some());
        assert!(history(Some("0191d3c8-8f7b-7f00-8000-000000000000"), Some("2026-01-01T00:00:00Z")).from().is_err());
    }
}
