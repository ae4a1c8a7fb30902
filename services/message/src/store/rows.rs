//! Rows as both engines give them, and what they mean.

use std::collections::HashMap;

use messenger_core::{
    ClientMessageId, Content, ConversationId, ConversationType, Error, MessageId, Metadata, Position, Result, Role,
    Timestamp, UserId,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    model::{
        ConversationState, Entry, Fact, Followed, HistoryPage, JournalPage, Message, Missed, MissedMessages,
        ReadPosition, ReadState, ReplayPage,
    },
    sequence::{DraftFacts, Head, Membership, Refusal, StoredBefore},
};

/// A message, or nothing where an outer join found none (all columns are null then).
#[derive(FromRow)]
pub(super) struct MessageRow {
    id: Option<Uuid>,
    seq: Option<i64>,
    sender_id: Option<Uuid>,
    content: Option<String>,
    created_at: Option<i64>,
    client_message_id: Option<String>,
    reply_to_id: Option<Uuid>,
    metadata: Option<String>,
}

impl MessageRow {
    pub(super) fn message(self, conversation_id: Uuid) -> Option<Message> {
        Some(Message {
            id: MessageId::from_uuid(self.id?),
            conversation_id: ConversationId::from_uuid(conversation_id),
            seq: self.seq?,
            sender_id: UserId::from_uuid(self.sender_id?),
            content: Content::from_stored(self.content?),
            created_at: Timestamp::from_micros(self.created_at?),
            client_message_id: self.client_message_id.map(ClientMessageId::from_stored),
            reply_to_id: self.reply_to_id.map(MessageId::from_uuid),
            metadata: self.metadata.map(Metadata::from_stored),
        })
    }
}

/// An entry beside the end of the journal at the time of reading; the entry is null when there is none.
#[derive(FromRow)]
pub(super) struct EntryRow {
    last_position: i64,
    position: Option<i64>,
    conversation_id: Option<Uuid>,
    body: Option<Vec<u8>>,
    #[sqlx(rename = "type")]
    conversation_type: Option<i16>,
    origin: Option<i64>,
    #[sqlx(flatten)]
    message: MessageRow,
}

impl EntryRow {
    fn entry(self) -> Result<Option<Entry>> {
        let (Some(position), Some(conversation)) = (self.position, self.conversation_id) else { return Ok(None) };
        let fact = match (self.body, self.message.message(conversation), self.conversation_type) {
            (Some(body), ..) => Fact::ConversationChanged(body.into()),
            (None, Some(message), Some(code)) => Fact::MessageSent {
                message,
                conversation_type: ConversationType::from_code(code)?,
                origin: self.origin.unwrap_or_default(),
            },
            _ => return Err(Error::internal(format!("entry {position} is neither message nor change"))),
        };
        let conversation_id = ConversationId::from_uuid(conversation);
        Ok(Some(Entry { position: Position(position), conversation_id, fact }))
    }
}

/// A page of at most `limit` entries out of rows of which there is one more when there are more entries.
pub(super) fn journal_page(rows: Vec<EntryRow>, limit: u32) -> Result<JournalPage> {
    let limit = limit as usize;
    let last = rows.first().map_or(0, |row| row.last_position);
    let has_more = rows.len() > limit;
    let mut entries = Vec::with_capacity(rows.len().min(limit));
    for row in rows.into_iter().take(limit) {
        entries.extend(row.entry()?);
    }
    let complete_to = match entries.last() {
        Some(entry) if has_more => entry.position,
        _ => Position(last),
    };
    Ok(JournalPage { entries, complete_to, has_more })
}

/// The same for one user.
pub(super) fn replay_page(rows: Vec<EntryRow>, limit: u32) -> Result<ReplayPage> {
    let JournalPage { entries, complete_to, has_more } = journal_page(rows, limit)?;
    Ok(ReplayPage { entries, complete_to, has_more })
}

/// The end of the journal, and a membership or nulls.
pub(super) type FollowColumns = (i64, Option<Uuid>, Option<Uuid>);

pub(super) fn followed(rows: Vec<FollowColumns>) -> Followed {
    let position = Position(rows.first().map_or(0, |row| row.0));
    let membership = |(_, user, conversation): FollowColumns| {
        Some((UserId::from_uuid(user?), ConversationId::from_uuid(conversation?)))
    };
    Followed { position, memberships: rows.into_iter().filter_map(membership).collect() }
}

/// A message of a page of history beside the page's beginning; the message is null when the page is empty.
#[derive(FromRow)]
pub(super) struct HistoryRow {
    /// Whether the message the page begins at is there; true when it begins at none.
    is_anchored: bool,
    #[sqlx(flatten)]
    message: MessageRow,
}

/// A page out of rows of which there is one more when there are more messages; no row means no participant.
pub(super) fn history_page(rows: Vec<HistoryRow>, conversation: ConversationId, limit: u32) -> Result<HistoryPage> {
    match rows.first() {
        None => return Err(Error::not_found("no such conversation")),
        Some(row) if !row.is_anchored => return Err(Error::not_found("no such message")),
        Some(_) => {}
    }
    let limit = limit as usize;
    let has_more = rows.len() > limit;
    let message = |row: HistoryRow| row.message.message(conversation.uuid());
    Ok(HistoryPage { messages: rows.into_iter().take(limit).filter_map(message).collect(), has_more })
}

/// Both sides of a message: the newer one oldest first, the older one, with the message, newest first.
pub(super) fn around(mut newer: HistoryPage, older: HistoryPage) -> HistoryPage {
    newer.messages.reverse();
    newer.messages.extend(older.messages);
    HistoryPage { messages: newer.messages, has_more: newer.has_more || older.has_more }
}

/// A user's state of a conversation beside its last message.
#[derive(FromRow)]
pub(super) struct StateRow {
    conversation_id: Uuid,
    #[sqlx(rename = "type")]
    conversation_type: i16,
    role: i16,
    last_seq: i64,
    read_seq: i64,
    read_at: Option<i64>,
    last_activity_at: i64,
    #[sqlx(flatten)]
    last_message: MessageRow,
}

impl TryFrom<StateRow> for ConversationState {
    type Error = Error;

    fn try_from(row: StateRow) -> Result<Self> {
        Ok(Self {
            conversation_id: ConversationId::from_uuid(row.conversation_id),
            conversation_type: ConversationType::from_code(row.conversation_type)?,
            role: Role::from_code(row.role)?,
            last_seq: row.last_seq,
            read_seq: row.read_seq,
            read_at: row.read_at.map(Timestamp::from_micros),
            last_activity_at: Timestamp::from_micros(row.last_activity_at),
            last_message: row.last_message.message(row.conversation_id),
        })
    }
}

pub(super) fn states_in(rows: Vec<StateRow>) -> Result<Vec<ConversationState>> {
    rows.into_iter().map(ConversationState::try_from).collect()
}

/// Entries and messages missed in one stretch of one conversation.
#[derive(FromRow)]
pub(super) struct MissedRow {
    conversation_id: Uuid,
    entries: i64,
    messages: i64,
    first_seq: Option<i64>,
}

/// Sums the stretches: a conversation has several when the user was removed and added again.
pub(super) fn missed_in(rows: Vec<MissedRow>) -> Missed {
    let mut missed = Missed { entries: 0, conversations: Vec::new() };
    let mut indexes = HashMap::new();
    for row in rows {
        missed.entries += row.entries;
        let Some(first_seq) = row.first_seq.filter(|_| row.messages > 0) else { continue };
        let index = *indexes.entry(row.conversation_id).or_insert_with(|| {
            let conversation_id = ConversationId::from_uuid(row.conversation_id);
            missed.conversations.push(MissedMessages { conversation_id, messages: 0, first_seq });
            missed.conversations.len() - 1
        });
        let conversation = &mut missed.conversations[index];
        conversation.messages += row.messages;
        conversation.first_seq = conversation.first_seq.min(first_seq);
    }
    missed
}

#[derive(FromRow)]
pub(super) struct ReadStateRow {
    read_seq: i64,
    read_at: Option<i64>,
    last_seq: i64,
    participant_count: i64,
}

impl ReadStateRow {
    pub(super) fn state(self, rose: bool) -> ReadState {
        ReadState {
            read_seq: self.read_seq,
            read_at: self.read_at.map(Timestamp::from_micros),
            last_seq: self.last_seq,
            rose,
            participant_count: self.participant_count,
        }
    }
}

/// User, read seq, read time; null for a user that does not take part. No row means that the asking one does not.
pub(super) type ReadPositionColumns = (Option<Uuid>, Option<i64>, Option<i64>);

pub(super) fn read_positions_in(rows: Vec<ReadPositionColumns>) -> Result<Vec<ReadPosition>> {
    if rows.is_empty() {
        return Err(Error::not_found("no such conversation"));
    }
    let position = |(user, read_seq, read_at): ReadPositionColumns| {
        let read_at = read_at.map(Timestamp::from_micros);
        Some(ReadPosition { user_id: UserId::from_uuid(user?), read_seq: read_seq?, read_at })
    };
    Ok(rows.into_iter().filter_map(position).collect())
}

/// Conversation, kind, restricted, version, participants, last seq, last position, last activity.
pub(super) type HeadColumns = (Uuid, i16, bool, i64, i64, i64, i64, i64);

pub(super) fn head(columns: HeadColumns) -> Result<(ConversationId, Head), sqlx::Error> {
    let (id, code, is_restricted, version, participant_count, last_seq, last_position, last_activity_at) = columns;
    let head = Head {
        conversation_type: ConversationType::from_code(code).map_err(decode)?,
        is_restricted,
        version,
        participant_count,
        last_seq,
        last_position: Position(last_position),
        last_activity_at: Timestamp::from_micros(last_activity_at),
    };
    Ok((ConversationId::from_uuid(id), head))
}

/// Conversation, user, role, joined position, joined seq, read seq, read time.
pub(super) type MembershipColumns = (Uuid, Uuid, i16, i64, i64, i64, Option<i64>);

pub(super) fn membership(columns: MembershipColumns) -> Result<((ConversationId, UserId), Membership), sqlx::Error> {
    let (conversation, user, role, joined_position, joined_seq, read_seq, read_at) = columns;
    let membership = Membership {
        role: Role::from_code(role).map_err(decode)?,
        joined_position: Position(joined_position),
        joined_seq,
        read_seq,
        read_at: read_at.map(Timestamp::from_micros),
    };
    Ok(((ConversationId::from_uuid(conversation), UserId::from_uuid(user)), membership))
}

/// Kind, restricted and last seq of the conversation; role; id of the message stored before; why it was refused
/// before; conversation of the message answered. In the order of the drafts.
pub(super) type DraftColumns =
    (Option<i16>, Option<bool>, Option<i64>, Option<i16>, Option<Uuid>, Option<i16>, Option<Uuid>);

/// The ids of messages stored before.
pub(super) fn stored_ids(rows: &[DraftColumns]) -> Vec<Uuid> {
    rows.iter().filter_map(|row| row.4).collect()
}

/// A message stored before, with what it is compared by.
#[derive(FromRow)]
pub(super) struct StoredRow {
    conversation_id: Uuid,
    digest: Vec<u8>,
    #[sqlx(flatten)]
    message: MessageRow,
}

pub(super) fn draft_facts(rows: Vec<DraftColumns>, stored: Vec<StoredRow>) -> Result<Vec<DraftFacts>, sqlx::Error> {
    let mut found = HashMap::with_capacity(stored.len());
    for row in stored {
        let digest = row.digest.try_into().map_err(|_| decode(Error::internal("a stored digest is not 16 bytes")))?;
        if let Some(message) = row.message.message(row.conversation_id) {
            found.insert(message.id.uuid(), StoredBefore { message, digest });
        }
    }
    let mut facts = Vec::with_capacity(rows.len());
    for (code, is_restricted, last_seq, role, stored, refused, answers_in) in rows {
        let conversation_type = code.map(ConversationType::from_code).transpose().map_err(decode)?;
        let conversation = match (conversation_type, is_restricted, last_seq) {
            (Some(conversation_type), Some(is_restricted), Some(last_seq)) => {
                Some((conversation_type, is_restricted, last_seq))
            }
            _ => None,
        };
        facts.push(DraftFacts {
            conversation,
            role: role.map(Role::from_code).transpose().map_err(decode)?,
            stored: stored.and_then(|id| found.get(&id).cloned()),
            refused: refused.map(Refusal::from_code).transpose().map_err(decode)?,
            answers_in: answers_in.map(ConversationId::from_uuid),
        });
    }
    Ok(facts)
}

fn decode(error: Error) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
