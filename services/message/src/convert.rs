//! Between the domain's words and the wire's.

use bytes::Bytes;
use messenger_core::{ClientMessageId, Content, ConversationId, Error, MessageId, Metadata, Position, Result, UserId};
use messenger_proto::{
    event::v1::{self as event, ConversationChanged, conversation_changed::Change as Changed, entry::Fact as Facts},
    message::v1::{self as wire, draft::Target as Targets, list_messages_request::From as Froms},
};
use messenger_rpc::{
    TraceParent,
    convert::{from_proto_role, from_proto_type, from_timestamp, timestamp, to_proto_role, to_proto_type},
};
use prost::Message as _;

use crate::model::{
    Change, ConversationState, Draft, Effect, Entry, Fact, HistoryFrom, Message, MissedMessages, ReadPosition,
    StoredMessage, Target,
};

/// A message.
pub(crate) fn message(message: &Message) -> event::Message {
    event::Message {
        id: message.id.to_string(),
        conversation_id: message.conversation_id.to_string(),
        seq: message.seq,
        sender_id: message.sender_id.to_string(),
        content: message.content.as_str().to_owned(),
        created_at: Some(timestamp(message.created_at)),
        client_message_id: message.client_message_id.as_ref().map(|id| id.as_str().to_owned()),
        reply_to_id: message.reply_to_id.map(|id| id.to_string()),
        metadata: message.metadata.as_ref().map(|json| json.as_str().to_owned()),
    }
}

/// A draft's message.
pub(crate) fn stored(stored: &StoredMessage) -> wire::StoredMessage {
    wire::StoredMessage {
        message: Some(message(&stored.message)),
        conversation_type: to_proto_type(stored.conversation_type).into(),
        repeated: stored.repeated,
    }
}

/// An entry. A change that cannot be read has no fact: it was written by a newer process.
pub(crate) fn entry(entry: &Entry) -> event::Entry {
    let fact = match &entry.fact {
        Fact::MessageSent { message: sent, conversation_type: kind, origin } => {
            Some(Facts::MessageSent(event::MessageSent {
                message: Some(message(sent)),
                conversation_type: to_proto_type(*kind).into(),
                origin: *origin,
            }))
        }
        Fact::ConversationChanged(body) => {
            ConversationChanged::decode(body.clone()).ok().map(Facts::ConversationChanged)
        }
    };
    event::Entry { position: entry.position.0, conversation_id: entry.conversation_id.to_string(), fact }
}

/// An entry of another process of the journal: what it says was checked before it was stored.
pub(crate) fn from_entry(entry: event::Entry) -> Result<Entry> {
    let fact = match entry.fact {
        Some(Facts::MessageSent(sent)) => Fact::MessageSent {
            message: from_message(sent.message.ok_or_else(|| missing("message"))?)?,
            conversation_type: from_proto_type(sent.conversation_type)?,
            origin: sent.origin,
        },
        Some(Facts::ConversationChanged(changed)) => Fact::ConversationChanged(Bytes::from(changed.encode_to_vec())),
        None => return Err(missing("fact")),
    };
    let conversation_id = ConversationId::parse("conversationId", &entry.conversation_id)?;
    Ok(Entry { position: Position(entry.position), conversation_id, fact })
}

fn from_message(message: event::Message) -> Result<Message> {
    Ok(Message {
        id: MessageId::parse("id", &message.id)?,
        conversation_id: ConversationId::parse("conversationId", &message.conversation_id)?,
        seq: message.seq,
        sender_id: UserId::parse("senderId", &message.sender_id)?,
        content: Content::from_stored(message.content),
        created_at: message.created_at.map(from_timestamp).ok_or_else(|| missing("createdAt"))?,
        client_message_id: message.client_message_id.map(ClientMessageId::from_stored),
        reply_to_id: message.reply_to_id.map(|id| MessageId::parse("replyToId", &id)).transpose()?,
        metadata: message.metadata.map(Metadata::from_stored),
    })
}

fn missing(field: &'static str) -> Error {
    Error::invalid(field, "is missing")
}

/// What a draft says beside itself.
pub(crate) struct Provenance {
    pub(crate) sender_id: UserId,
    pub(crate) message_id: MessageId,
    pub(crate) resent: bool,
    pub(crate) origin: i64,
    pub(crate) trace: TraceParent,
}

/// A draft, made valid, and where it is to go.
pub(crate) fn draft(draft: &wire::Draft, from: Provenance) -> Result<(Target, Draft)> {
    let target = match &draft.target {
        Some(Targets::ReceiverId(id)) => Target::Receiver(UserId::parse("receiverId", id)?),
        Some(Targets::GroupId(id)) => Target::Group(ConversationId::parse("groupId", id)?),
        Some(Targets::ConversationId(id)) => Target::Conversation(ConversationId::parse("conversationId", id)?),
        None => return Err(Error::invalid("receiverId", "or groupId or conversationId is needed")),
    };
    let draft = Draft {
        sender_id: from.sender_id,
        message_id: from.message_id,
        content: Content::new(&draft.content)?,
        client_message_id: draft.client_message_id.as_deref().map(ClientMessageId::new).transpose()?,
        reply_to_id: draft.reply_to_id.as_deref().map(|id| MessageId::parse("replyToId", id)).transpose()?,
        metadata: draft.metadata.as_deref().map(Metadata::new).transpose()?,
        resent: from.resent,
        origin: from.origin,
        trace: from.trace,
    };
    Ok((target, draft))
}

/// A draft of a pipe: its tag, and itself made valid.
pub(crate) fn tagged(tagged: &wire::TaggedDraft) -> (u64, Result<(Target, Draft)>) {
    let read = || {
        let from = Provenance {
            sender_id: UserId::parse("senderId", &tagged.sender_id)?,
            message_id: MessageId::parse("messageId", &tagged.message_id)?,
            resent: tagged.resent,
            origin: tagged.origin,
            trace: tagged.traceparent.as_deref().map(TraceParent::from_text).unwrap_or_default(),
        };
        draft(tagged.draft.as_ref().ok_or_else(|| missing("draft"))?, from)
    };
    (tagged.tag, read())
}

/// A change as conversation sends it.
pub(crate) fn change(changed: ConversationChanged) -> Result<Change> {
    let conversation = changed.conversation.as_ref().ok_or_else(|| missing("conversation"))?;
    Ok(Change {
        conversation_id: ConversationId::parse("conversationId", &conversation.id)?,
        conversation_type: from_proto_type(conversation.r#type)?,
        is_restricted: conversation.is_restricted,
        participant_count: conversation.participant_count,
        version: conversation.version,
        effect: effect(&changed)?,
        body: Bytes::from(changed.encode_to_vec()),
    })
}

/// What the body of a change entry does to the participants.
pub(crate) fn effect_of(body: &Bytes) -> Result<Effect> {
    effect(&ConversationChanged::decode(body.clone()).map_err(Error::internal)?)
}

fn effect(changed: &ConversationChanged) -> Result<Effect> {
    Ok(match changed.change.as_ref().ok_or_else(|| missing("change"))? {
        Changed::Created(created) => Effect::Join(participants(&created.participants)?),
        Changed::ParticipantsAdded(added) => Effect::Join(participants(&added.participants)?),
        Changed::ParticipantUpdated(updated) => {
            let (user, role) = participant(updated.participant.as_ref().ok_or_else(|| missing("participant"))?)?;
            Effect::Role(user, role)
        }
        Changed::ParticipantRemoved(removed) => Effect::Leave(UserId::parse("userId", &removed.user_id)?),
        Changed::Updated(_) => Effect::None,
    })
}

fn participants(participants: &[event::Participant]) -> Result<Vec<(UserId, messenger_core::Role)>> {
    participants.iter().map(participant).collect()
}

fn participant(participant: &event::Participant) -> Result<(UserId, messenger_core::Role)> {
    Ok((UserId::parse("userId", &participant.user_id)?, from_proto_role(participant.role)?))
}

/// Where a page of history begins.
pub(crate) fn history_from(from: Option<Froms>) -> Result<HistoryFrom> {
    Ok(match from {
        None => HistoryFrom::Newest,
        Some(Froms::BeforeMessageId(id)) => HistoryFrom::Before(MessageId::parse("before", &id)?),
        Some(Froms::AfterMessageId(id)) => HistoryFrom::After(MessageId::parse("after", &id)?),
        Some(Froms::AroundMessageId(id)) => HistoryFrom::Around(MessageId::parse("around", &id)?),
        Some(Froms::At(time)) => HistoryFrom::At(from_timestamp(time)),
    })
}

/// A user's state of a conversation.
pub(crate) fn state(state: &ConversationState) -> wire::ConversationState {
    wire::ConversationState {
        conversation_id: state.conversation_id.to_string(),
        r#type: to_proto_type(state.conversation_type).into(),
        role: to_proto_role(state.role).into(),
        last_seq: state.last_seq,
        last_read_seq: state.read_seq,
        last_read_at: state.read_at.map(timestamp),
        unread_count: state.last_seq - state.read_seq,
        last_activity_at: Some(timestamp(state.last_activity_at)),
        last_message: state.last_message.as_ref().map(message),
    }
}

/// How far a participant has read.
pub(crate) fn read_position(read: &ReadPosition) -> wire::ReadPosition {
    wire::ReadPosition {
        user_id: read.user_id.to_string(),
        last_read_seq: read.read_seq,
        last_read_at: read.read_at.map(timestamp),
    }
}

/// A conversation left out of a replay.
pub(crate) fn limited(missed: &MissedMessages) -> wire::LimitedConversation {
    wire::LimitedConversation { conversation_id: missed.conversation_id.to_string(), from_seq: missed.first_seq }
}

/// At most `max` ids.
pub(crate) fn ids<K>(field: &'static str, texts: &[String], max: usize) -> Result<Vec<messenger_core::Id<K>>> {
    if texts.len() > max {
        return Err(Error::invalid(field, format!("must be at most {max}")));
    }
    texts.iter().map(|text| messenger_core::Id::parse(field, text)).collect()
}

/// The place of a row in the list of conversations, as a page token.
pub(crate) fn list_token(state: &ConversationState) -> String {
    let key = format!("{}|{}", state.last_activity_at.as_micros(), state.conversation_id);
    messenger_core::page::encode_token(&key)
}

/// The place a page token names; none for the first page.
pub(crate) fn from_list_token(token: &str) -> Result<Option<(messenger_core::Timestamp, ConversationId)>> {
    let Some(key) = messenger_core::page::decode_token(token)? else { return Ok(None) };
    let invalid = || Error::invalid("cursor", "is not a page token of this list");
    let (micros, id) = key.split_once('|').ok_or_else(invalid)?;
    let micros = micros.parse().map_err(|_| invalid())?;
    let id = ConversationId::parse("cursor", id).map_err(|_| invalid())?;
    Ok(Some((messenger_core::Timestamp::from_micros(micros), id)))
}
