//! Rows as what they stand for.

use messenger_core::{ConversationId, ConversationType, Error, ParticipantId, Result, Role, Timestamp, UserId};
use uuid::Uuid;

use crate::model::{Conversation, ConversationView, FoundP2p, Participant, PendingChange, RequestDigest};

#[derive(sqlx::FromRow)]
pub(super) struct ConversationRow {
    id: Uuid,
    #[sqlx(rename = "type")]
    conversation_type: i16,
    name: String,
    is_restricted: bool,
    version: i64,
    participant_count: i64,
    created_at: i64,
}

impl TryFrom<ConversationRow> for Conversation {
    type Error = Error;

    fn try_from(row: ConversationRow) -> Result<Self> {
        Ok(Self {
            id: ConversationId::from_uuid(row.id),
            conversation_type: ConversationType::from_code(row.conversation_type)?,
            name: row.name,
            is_restricted: row.is_restricted,
            version: row.version,
            participant_count: row.participant_count,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct FoundP2pRow {
    #[sqlx(flatten)]
    conversation: ConversationRow,
    is_delivered: bool,
}

impl TryFrom<FoundP2pRow> for FoundP2p {
    type Error = Error;

    fn try_from(row: FoundP2pRow) -> Result<Self> {
        Ok(Self { conversation: row.conversation.try_into()?, is_delivered: row.is_delivered })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ViewRow {
    #[sqlx(flatten)]
    conversation: ConversationRow,
    role: i16,
    peer_user_id: Option<Uuid>,
}

impl TryFrom<ViewRow> for ConversationView {
    type Error = Error;

    fn try_from(row: ViewRow) -> Result<Self> {
        Ok(Self {
            conversation: row.conversation.try_into()?,
            role: Role::from_code(row.role)?,
            peer: row.peer_user_id.map(UserId::from_uuid),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct ParticipantRow {
    id: Uuid,
    conversation_id: Uuid,
    user_id: Uuid,
    role: i16,
    joined_at: i64,
}

impl TryFrom<ParticipantRow> for Participant {
    type Error = Error;

    fn try_from(row: ParticipantRow) -> Result<Self> {
        Ok(Self {
            id: ParticipantId::from_uuid(row.id),
            conversation_id: ConversationId::from_uuid(row.conversation_id),
            user_id: UserId::from_uuid(row.user_id),
            role: Role::from_code(row.role)?,
            joined_at: Timestamp::from_micros(row.joined_at),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct PendingRow {
    version: i64,
    body: Vec<u8>,
}

impl From<PendingRow> for PendingChange {
    fn from(row: PendingRow) -> Self {
        Self { version: row.version, body: row.body }
    }
}

/// The stored form of a digest as what it stands for.
pub(super) fn digest(bytes: Vec<u8>) -> Result<RequestDigest> {
    bytes.try_into().map_err(|_| Error::internal("a stored digest is not 16 bytes"))
}

/// The rows as what they stand for.
pub(super) fn read<Row, T: TryFrom<Row, Error = Error>>(rows: impl IntoIterator<Item = Row>) -> Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}
