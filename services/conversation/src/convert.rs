//! Between the model and the wire.

use std::collections::HashSet;

use messenger_core::{ConversationId, Error, Id, Result, UserId, limits::USERS_PER_REQUEST_MAX, page};
use messenger_proto::{
    conversation::v1 as proto,
    event::v1::{
        self as event, ConversationChanged, ConversationCreated, ConversationUpdated, ParticipantRemoved,
        ParticipantUpdated, ParticipantsAdded, conversation_changed,
    },
};
use messenger_rpc::{
    convert::{to_proto_role, to_proto_type},
    timestamp,
};
use prost::Message as _;

use crate::model::{Change, Conversation, ConversationView, Participant, PendingChange};

/// The outbox row for a change that made this version of the conversation.
pub(crate) fn pending(after: &Conversation, change: Change) -> PendingChange {
    let change = match change {
        Change::Created(new) => {
            conversation_changed::Change::Created(ConversationCreated { participants: participants(new) })
        }
        Change::Updated => conversation_changed::Change::Updated(ConversationUpdated {}),
        Change::ParticipantsAdded(new) => {
            conversation_changed::Change::ParticipantsAdded(ParticipantsAdded { participants: participants(new) })
        }
        Change::ParticipantUpdated(changed) => conversation_changed::Change::ParticipantUpdated(ParticipantUpdated {
            participant: Some(participant(changed)),
        }),
        Change::ParticipantRemoved { user_id, removed_by } => {
            let (user_id, removed_by) = (user_id.to_string(), removed_by.to_string());
            conversation_changed::Change::ParticipantRemoved(ParticipantRemoved { user_id, removed_by })
        }
    };
    let changed = ConversationChanged { conversation: Some(conversation(after.clone())), change: Some(change) };
    PendingChange { version: after.version, body: changed.encode_to_vec() }
}

fn conversation(from: Conversation) -> event::Conversation {
    event::Conversation {
        id: from.id.to_string(),
        r#type: to_proto_type(from.conversation_type).into(),
        name: from.name,
        is_restricted: from.is_restricted,
        created_at: Some(timestamp(from.created_at)),
        participant_count: from.participant_count,
        version: from.version,
    }
}

pub(crate) fn participant(from: Participant) -> event::Participant {
    event::Participant {
        id: from.id.to_string(),
        user_id: from.user_id.to_string(),
        conversation_id: from.conversation_id.to_string(),
        role: to_proto_role(from.role).into(),
        joined_at: Some(timestamp(from.joined_at)),
    }
}

pub(crate) fn participants(from: Vec<Participant>) -> Vec<event::Participant> {
    from.into_iter().map(participant).collect()
}

pub(crate) fn view(from: ConversationView) -> proto::ConversationView {
    proto::ConversationView {
        conversation: Some(conversation(from.conversation)),
        role: to_proto_role(from.role).into(),
        peer_user_id: from.peer.map(|peer| peer.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn views(from: Vec<ConversationView>) -> Vec<proto::ConversationView> {
    from.into_iter().map(view).collect()
}

/// Ids as they came, each once; VALIDATION_FAILED over `most` of them.
pub(crate) fn ids<K>(field: &'static str, texts: &[String], most: usize) -> Result<Vec<Id<K>>> {
    if texts.len() > most {
        return Err(Error::invalid(field, format!("must be at most {most}")));
    }
    let mut seen = HashSet::with_capacity(texts.len());
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id = Id::parse(field, text)?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// At least one user, at most 1,000.
pub(crate) fn some_users(field: &'static str, texts: &[String]) -> Result<Vec<UserId>> {
    if texts.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    ids(field, texts, USERS_PER_REQUEST_MAX)
}

/// The id a page token stands for.
pub(crate) fn token_id<K>(token: &str) -> Result<Option<Id<K>>> {
    page::decode_token(token)?.map(|key| Id::parse("cursor", &key)).transpose()
}

/// Cuts what was read to a page, and the token of the next one: empty when nothing was cut off.
pub(crate) fn cut<T, K>(mut rows: Vec<T>, size: page::PageSize, key: impl Fn(&T) -> Id<K>) -> (Vec<T>, String) {
    let size = size.rows() as usize;
    if rows.len() <= size {
        return (rows, String::new());
    }
    rows.truncate(size);
    let token = rows.last().map(|row| page::encode_token(&key(row).to_string())).unwrap_or_default();
    (rows, token)
}

pub(crate) fn conversation_id(text: &str) -> Result<ConversationId> {
    ConversationId::parse("conversationId", text)
}

pub(crate) fn user_id(text: &str) -> Result<UserId> {
    UserId::parse("userId", text)
}
