//! The public JSON objects and event bodies, the same on sockets and REST.
//! They borrow from the messages they are made from: nothing is copied before it is encoded.

use messenger_core::{ConversationType, Role, Timestamp};
use messenger_proto::{auth::v1 as auth, event::v1 as event, message::v1::LimitedConversation};
use prost_types::Timestamp as ProtoTimestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Participants up to which `conversation_created` names all of them; beyond, clients page them.
const PARTICIPANTS_IN_CREATED_MAX: usize = 100;

/// A user; others than the user itself see it without `email`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserObject<'a> {
    #[schema(format = Uuid)]
    id: &'a str,
    full_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    designation: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl<'a> UserObject<'a> {
    /// As the user itself sees it.
    #[must_use]
    pub fn own(user: &'a auth::User) -> Self {
        Self { email: Some(&user.email), ..Self::of(user) }
    }

    /// As others see it.
    #[must_use]
    pub fn of(user: &'a auth::User) -> Self {
        let created_at = time(user.created_at.as_ref());
        Self { id: &user.id, full_name: &user.full_name, email: None, designation: &user.designation, created_at }
    }
}

/// A conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub struct ConversationObject<'a> {
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(value_type = String, pattern = "^(P2P|GROUP)$")]
    r#type: ConversationType,
    /// `null` for P2P.
    name: Option<&'a str>,
    /// In a restricted group only ADMINs may post.
    is_restricted: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    participant_count: i64,
    /// Counts the changes of it and its participants, from 1.
    version: i64,
}

impl<'a> From<&'a event::Conversation> for ConversationObject<'a> {
    fn from(conversation: &'a event::Conversation) -> Self {
        Self {
            id: &conversation.id,
            r#type: conversation_type(conversation.r#type),
            name: (!conversation.name.is_empty()).then_some(&conversation.name),
            is_restricted: conversation.is_restricted,
            created_at: time(conversation.created_at.as_ref()),
            participant_count: conversation.participant_count,
            version: conversation.version,
        }
    }
}

/// A user's part in a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Participant)]
pub struct ParticipantObject<'a> {
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(format = Uuid)]
    user_id: &'a str,
    #[schema(format = Uuid)]
    conversation_id: &'a str,
    #[schema(value_type = String, pattern = "^(ADMIN|MEMBER)$")]
    role: Role,
    /// `null`: never read, or not asked for (events).
    #[schema(value_type = Option<String>, format = DateTime)]
    last_read_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
}

impl<'a> From<&'a event::Participant> for ParticipantObject<'a> {
    fn from(participant: &'a event::Participant) -> Self {
        Self {
            id: &participant.id,
            user_id: &participant.user_id,
            conversation_id: &participant.conversation_id,
            role: role(participant.role),
            last_read_at: None,
            joined_at: time(participant.joined_at.as_ref()),
        }
    }
}

impl ParticipantObject<'_> {
    /// With the time the user last read here.
    #[must_use]
    pub fn with_last_read_at(mut self, at: Option<Timestamp>) -> Self {
        self.last_read_at = at;
        self
    }
}

/// A message; its metadata is given back as the JSON text it came as.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub struct MessageObject<'a> {
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(format = Uuid)]
    conversation_id: &'a str,
    /// 1, 2, 3 ... without gaps in its conversation.
    seq: i64,
    #[schema(format = Uuid)]
    sender_id: &'a str,
    content: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    reply_to_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
}

impl<'a> From<&'a event::Message> for MessageObject<'a> {
    fn from(message: &'a event::Message) -> Self {
        Self {
            id: &message.id,
            conversation_id: &message.conversation_id,
            seq: message.seq,
            sender_id: &message.sender_id,
            content: &message.content,
            created_at: time(message.created_at.as_ref()),
            client_message_id: message.client_message_id.as_deref(),
            reply_to_id: message.reply_to_id.as_deref(),
            metadata: message.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok()),
        }
    }
}

/// The body of a durable event.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventObject<'a> {
    /// `new_message`; to the sending connection of a P2P message `message_sent`.
    NewMessage(MessageObject<'a>),
    /// `conversation_created`
    #[serde(rename_all = "camelCase")]
    ConversationCreated {
        /// The new conversation.
        #[serde(flatten)]
        conversation: ConversationObject<'a>,
        /// All of them, when there are at most 100.
        #[serde(skip_serializing_if = "Option::is_none")]
        participants: Option<Vec<ParticipantObject<'a>>>,
    },
    /// `conversation_updated`
    ConversationUpdated(ConversationObject<'a>),
    /// `participant_added`
    #[serde(rename_all = "camelCase")]
    ParticipantAdded {
        /// Where.
        conversation_id: &'a str,
        /// The conversation afterwards: the added see it for the first time.
        conversation: ConversationObject<'a>,
        /// Who was added.
        participants: Vec<ParticipantObject<'a>>,
    },
    /// `participant_updated`
    #[serde(rename_all = "camelCase")]
    ParticipantUpdated {
        /// Where.
        conversation_id: &'a str,
        /// As it is now.
        participant: ParticipantObject<'a>,
    },
    /// `participant_removed`
    #[serde(rename_all = "camelCase")]
    ParticipantRemoved {
        /// Where.
        conversation_id: &'a str,
        /// Who takes part no longer.
        user_id: &'a str,
    },
}

impl<'a> EventObject<'a> {
    /// The body of this entry's event; none for a fact newer than this gateway.
    #[must_use]
    pub fn of(entry: &'a event::Entry) -> Option<Self> {
        match entry.fact.as_ref()? {
            event::entry::Fact::MessageSent(sent) => {
                sent.message.as_ref().map(|message| Self::NewMessage(message.into()))
            }
            event::entry::Fact::ConversationChanged(changed) => Self::of_change(changed),
        }
    }

    fn of_change(changed: &'a event::ConversationChanged) -> Option<Self> {
        use event::conversation_changed::Change;
        let conversation = changed.conversation.as_ref()?;
        let conversation_id = conversation.id.as_str();
        Some(match changed.change.as_ref()? {
            Change::Created(created) => {
                let all = created.participants.len() <= PARTICIPANTS_IN_CREATED_MAX;
                let participants = all.then(|| created.participants.iter().map(Into::into).collect());
                Self::ConversationCreated { conversation: conversation.into(), participants }
            }
            Change::Updated(_) => Self::ConversationUpdated(conversation.into()),
            Change::ParticipantsAdded(added) => Self::ParticipantAdded {
                conversation_id,
                conversation: conversation.into(),
                participants: added.participants.iter().map(Into::into).collect(),
            },
            Change::ParticipantUpdated(updated) => {
                Self::ParticipantUpdated { conversation_id, participant: updated.participant.as_ref()?.into() }
            }
            Change::ParticipantRemoved(removed) => {
                Self::ParticipantRemoved { conversation_id, user_id: &removed.user_id }
            }
        })
    }

    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NewMessage(_) => "new_message",
            Self::ConversationCreated { .. } => "conversation_created",
            Self::ConversationUpdated(_) => "conversation_updated",
            Self::ParticipantAdded { .. } => "participant_added",
            Self::ParticipantUpdated { .. } => "participant_updated",
            Self::ParticipantRemoved { .. } => "participant_removed",
        }
    }
}

/// The body of `message_read`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageReadObject<'a> {
    conversation_id: &'a str,
    user_id: &'a str,
    last_read_seq: i64,
    last_read_at: Timestamp,
}

impl<'a> MessageReadObject<'a> {
    /// Who has read how far, where.
    #[must_use]
    pub fn new(conversation_id: &'a str, read: &'a event::MessageRead) -> Self {
        Self {
            conversation_id,
            user_id: &read.user_id,
            last_read_seq: read.last_read_seq,
            last_read_at: time(read.last_read_at.as_ref()),
        }
    }
}

/// A conversation with more than 1,000 missed messages: its events are left out, page its history.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Limited)]
pub struct LimitedObject<'a> {
    #[schema(format = Uuid)]
    conversation_id: &'a str,
    /// The first missed message.
    from_seq: i64,
}

impl<'a> From<&'a LimitedConversation> for LimitedObject<'a> {
    fn from(limited: &'a LimitedConversation) -> Self {
        Self { conversation_id: &limited.conversation_id, from_seq: limited.from_seq }
    }
}

/// A protobuf time; the epoch when there is none.
#[must_use]
pub fn time(time: Option<&ProtoTimestamp>) -> Timestamp {
    time_if_any(time).unwrap_or_default()
}

/// A protobuf time; none when there is none.
#[must_use]
pub fn time_if_any(time: Option<&ProtoTimestamp>) -> Option<Timestamp> {
    time.map(|time| Timestamp::from_parts(time.seconds, time.nanos))
}

/// A protobuf role; the one that may less for anything unknown.
#[must_use]
pub fn role(code: i32) -> Role {
    match event::Role::try_from(code) {
        Ok(event::Role::Admin) => Role::Admin,
        _ => Role::Member,
    }
}

fn conversation_type(code: i32) -> ConversationType {
    match event::ConversationType::try_from(code) {
        Ok(event::ConversationType::P2p) => ConversationType::P2p,
        _ => ConversationType::Group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> event::Message {
        event::Message {
            id: "m".into(),
            conversation_id: "c".into(),
            seq: 7,
            sender_id: "s".into(),
            content: "a \u{2028} \"b\"".into(),
            created_at: Some(ProtoTimestamp { seconds: 1, nanos: 2_000_000 }),
            metadata: Some(r#"{"b":1, "a":1e400}"#.into()),
            ..Default::default()
        }
    }

    #[test]
    fn a_message_keeps_its_metadata_text() {
        let json = serde_json::to_string(&MessageObject::from(&message())).expect("encodes");
        let text = "a \u{2028} \\\"b\\\"";
        let expected = format!(
            r#"{{"id":"m","conversationId":"c","seq":7,"senderId":"s","content":"{text}","createdAt":"1970-01-01T00:00:01.002Z","metadata":{{"b":1, "a":1e400}}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_created_conversation_is_flat() {
        let conversation = event::Conversation { id: "c".into(), r#type: 1, ..Default::default() };
        let created = event::ConversationCreated { participants: vec![event::Participant::default()] };
        let changed = event::ConversationChanged {
            conversation: Some(conversation),
            change: Some(event::conversation_changed::Change::Created(created)),
        };
        let fact = Some(event::entry::Fact::ConversationChanged(changed));
        let entry = event::Entry { position: 1, conversation_id: "c".into(), fact };
        let body = EventObject::of(&entry).expect("known");
        assert_eq!(body.name(), "conversation_created");
        let json = serde_json::to_value(&body).expect("encodes");
        assert_eq!(json["id"], "c");
        assert_eq!(json["type"], "P2P");
        assert!(json["name"].is_null());
        assert_eq!(json["participants"][0]["role"], "MEMBER");
    }
}
