//! Where the journal, the memberships and the read positions are kept: one trait, PostgreSQL and SQLite.
//! What a user reads is joined with its membership in the same statement.

mod append;
mod migrations;
mod postgres;
mod rows;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{ConversationId, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_db::Location;

use self::{postgres::PostgresStore, sqlite::SqliteStore};
use crate::model::{
    Appended, Batch, ConversationState, Followed, HistoryFrom, HistoryPage, JournalHead, JournalPage, Message, Missed,
    ReadPosition, ReadState, ReadUpTo, ReplayPage,
};

/// The context's name: of its schema, and of its file.
pub(crate) const CONTEXT: &str = "message";

/// Opens and migrates the store of this context.
///
/// # Errors
/// With a line for the operator when the store cannot be used or its schema is newer than this program.
pub async fn open(location: &Location) -> Result<Arc<dyn Store>> {
    Ok(match location {
        Location::Postgres(url) => Arc::new(PostgresStore::open(url).await?),
        Location::Sqlite(folder) => Arc::new(SqliteStore::open(&Location::sqlite_file(folder, CONTEXT)).await?),
    })
}

/// The journal's store. It appends; its parts read.
///
/// # Errors
/// UNAVAILABLE when the database is away, INTERNAL when it fails otherwise; what else a function may answer is said
/// there. A conversation the user does not take part in is NOT_FOUND.
#[async_trait]
pub trait Store: FeedStore + HistoryStore + StateStore {
    /// Appends a batch in one commit: all of it is durable when this answers. `now` may fall; what is stored does not.
    ///
    /// # Errors
    /// UNAVAILABLE for the whole batch, also when it is unknown whether it was committed.
    async fn append(&self, batch: Batch, now: Timestamp) -> Result<Appended>;
}

/// The journal itself: in full, for one user, and who is to hear what. Errors as [`Store`] has them.
#[async_trait]
pub trait FeedStore: Send + Sync + 'static {
    /// Reads for users that are made at once; more wait.
    fn readers(&self) -> usize;

    /// Which journal this is and how far it goes.
    async fn journal(&self) -> Result<JournalHead>;

    /// What this journal's processes prove their publications to each other by.
    async fn bus_key(&self) -> Result<BusKey>;

    /// Makes it another journal: cursors and publications of before are refused from now on. For restored backups.
    /// Processes that run on it end themselves.
    async fn renew_identity(&self) -> Result<()>;

    /// Entries after a position, at most `limit`, for all conversations.
    async fn read_journal(&self, after: Position, limit: u32) -> Result<JournalPage>;

    /// Where these users take part, and the position up to which that is true.
    async fn follow(&self, users: &[UserId]) -> Result<Followed>;

    /// How much a user missed after a position: exactly, unless it is more than is replayed.
    async fn missed(&self, user: UserId, after: Position) -> Result<Missed>;

    /// What a user missed after a position, at most `limit` entries: exactly what it would have got live, but of
    /// conversations it was removed from nothing except its removals. `excluded` conversations are left out (its
    /// removals are not).
    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        limit: u32,
    ) -> Result<ReplayPage>;
}

/// Messages of one conversation, for one of its participants. Errors as [`Store`] has them.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// One message; none if it is not there or not for this user.
    async fn message(&self, user: UserId, conversation: ConversationId, message: MessageId) -> Result<Option<Message>>;

    /// A page of a conversation's messages.
    ///
    /// # Errors
    /// NOT_FOUND also when `from` names a message of another conversation.
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        from: HistoryFrom,
        rows: PageSize,
    ) -> Result<HistoryPage>;
}

/// What a user's conversations look like to it. Errors as [`Store`] has them.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// The P2P conversation of each pair (in either order), if there is one.
    async fn find_p2p(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Option<ConversationId>>>;

    /// The user's conversations, the last active first (ties by id, falling), one more row than `rows` when there are
    /// more. `after` is the last activity and id of the last row of the page before.
    async fn conversations(
        &self,
        user: UserId,
        after: Option<(Timestamp, ConversationId)>,
        rows: PageSize,
    ) -> Result<Vec<ConversationState>>;

    /// The user's state of these conversations, those it does not take part in left out; in no particular order.
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>>;

    /// How far these participants of a conversation of the user have read; others are left out.
    ///
    /// # Errors
    /// NOT_FOUND when `user` does not take part.
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>>;

    /// Raises the user's read position; it never falls and never passes the last message.
    ///
    /// # Errors
    /// NOT_FOUND also when `up_to` names a message of another conversation.
    async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        now: Timestamp,
    ) -> Result<ReadState>;
}
