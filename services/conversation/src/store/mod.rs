//! Persistence: what the domain needs of a database, and the rows both databases have in common.
//!
//! A change is one transaction whose steps the domain puts together, so that their order has one home.

mod migrations;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use messenger_core::{
    ConversationId, ConversationType, Error, ParticipantId, Result, Role, Timestamp, UserId, page::PageSize,
};
use messenger_db::{Location, open_postgres, open_sqlite};
use uuid::Uuid;

use self::{postgres::PostgresStore, sqlite::SqliteStore};
use crate::model::{
    Conversation, ConversationView, FoundP2p, GroupRequest, Pair, Participant, PendingChange, RequestDigest,
};

/// Of this context: its schema in PostgreSQL, its file in SQLite.
const CONTEXT: &str = "conversation";
const CONNECTIONS_MAX: u32 = 10;

/// Opens and migrates the store of this context.
///
/// # Errors
/// With a line for the operator when the store cannot be used or its schema is newer than this program.
pub async fn open(location: &Location) -> Result<Arc<dyn Store>> {
    Ok(match location {
        Location::Postgres(url) => {
            let pool = open_postgres(url, CONTEXT, migrations::POSTGRES, CONNECTIONS_MAX).await?;
            Arc::new(PostgresStore { pool })
        }
        Location::Sqlite(folder) => {
            let file = Location::sqlite_file(folder, CONTEXT);
            Arc::new(SqliteStore { pools: open_sqlite(&file, migrations::SQLITE).await? })
        }
    })
}

/// A database of this context. Every error is UNAVAILABLE (passes by itself) or INTERNAL.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Begins a change.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;

    /// The conversation of a pair.
    async fn find_p2p(&self, pair: Pair) -> Result<Option<FoundP2p>>;

    /// The digest of the request that made this group under a key of its creator.
    async fn group_request(&self, conversation: ConversationId) -> Result<Option<RequestDigest>>;

    /// The conversation as the user sees it; none when the user takes no part.
    async fn view(&self, user: UserId, conversation: ConversationId) -> Result<Option<ConversationView>>;

    /// Those of the conversations the user takes part in.
    async fn views(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationView>>;

    /// The user's conversations after the given one by their ids; one row more than the page has if there are more.
    async fn list(&self, user: UserId, after: Option<ConversationId>, page: PageSize) -> Result<Vec<ConversationView>>;

    /// The participants after the given user by their user ids, one row more than the page has if there are more.
    /// None at all when `user` takes no part.
    async fn participants(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: Option<UserId>,
        page: PageSize,
    ) -> Result<Vec<Participant>>;

    /// The changes above `version` that the journal has not acknowledged, at most `rows`, the lowest version first.
    async fn pending(&self, conversation: ConversationId, version: i64, rows: u32) -> Result<Vec<PendingChange>>;

    /// Forgets the changes up to `version`: the journal has them.
    async fn acknowledge(&self, conversation: ConversationId, version: i64) -> Result<()>;

    /// Conversations with unacknowledged changes, after the given one by their ids, at most `rows`.
    async fn undelivered(&self, after: Option<ConversationId>, rows: u32) -> Result<Vec<ConversationId>>;
}

/// The steps of one change. Dropping it undoes them.
#[async_trait]
pub trait Transaction: Send {
    /// Makes the pair's conversation this one; false when the pair has one. Waits for others claiming the same pair.
    async fn claim_p2p(&mut self, pair: Pair, conversation: ConversationId) -> Result<bool>;

    /// Makes this request the group's; false when the group is there. Waits for others claiming the same group.
    async fn claim_group(&mut self, request: GroupRequest) -> Result<bool>;

    /// Takes the conversation's row until the end, and reads it. What later steps read is at least as new.
    async fn lock(&mut self, conversation: ConversationId) -> Result<Option<Conversation>>;

    /// The part of one user.
    async fn participant(&mut self, conversation: ConversationId, user: UserId) -> Result<Option<Participant>>;

    /// The parts of those of the users who have one.
    async fn participants(&mut self, conversation: ConversationId, users: &[UserId]) -> Result<Vec<Participant>>;

    /// Whether somebody beside this user is ADMIN.
    async fn has_other_admin(&mut self, conversation: ConversationId, user: UserId) -> Result<bool>;

    /// Adds a conversation.
    async fn insert_conversation(&mut self, conversation: &Conversation) -> Result<()>;

    /// Writes what can change of a conversation: name, restriction, version, participant count.
    async fn update_conversation(&mut self, conversation: &Conversation) -> Result<()>;

    /// Adds participants.
    async fn insert_participants(&mut self, participants: &[Participant]) -> Result<()>;

    /// Writes a participant's role.
    async fn update_role(&mut self, participant: &Participant) -> Result<()>;

    /// Removes a participant.
    async fn delete_participant(&mut self, conversation: ConversationId, user: UserId) -> Result<()>;

    /// Counts one conversation more for each of the users; the highest count there is then.
    async fn join(&mut self, users: &[UserId]) -> Result<i64>;

    /// Counts one conversation less for the user.
    async fn part(&mut self, user: UserId) -> Result<()>;

    /// Puts a change into the outbox.
    async fn record(&mut self, conversation: ConversationId, change: &PendingChange) -> Result<()>;

    /// Makes it all durable. UNAVAILABLE when it is unknown whether that happened.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Undoes it all.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

#[derive(sqlx::FromRow)]
struct ConversationRow {
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
struct FoundP2pRow {
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
struct ViewRow {
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
struct ParticipantRow {
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
struct PendingRow {
    version: i64,
    body: Vec<u8>,
}

impl From<PendingRow> for PendingChange {
    fn from(row: PendingRow) -> Self {
        Self { version: row.version, body: row.body }
    }
}

/// The stored form of a digest as what it stands for.
fn digest(bytes: Vec<u8>) -> Result<RequestDigest> {
    bytes.try_into().map_err(|_| Error::internal("a stored digest is not 16 bytes"))
}

/// The rows as what they stand for.
fn read<Row, T: TryFrom<Row, Error = Error>>(rows: impl IntoIterator<Item = Row>) -> Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}

fn uuids<K>(ids: &[messenger_core::Id<K>]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

/// What to compare with for "after none": lower than every id of ours.
fn uuid_or_nil<K>(id: Option<messenger_core::Id<K>>) -> Uuid {
    id.map_or(Uuid::nil(), messenger_core::Id::uuid)
}
