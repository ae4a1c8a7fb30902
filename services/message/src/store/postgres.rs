//! The store on PostgreSQL.

mod append;
mod bugs;
mod feed;
mod history;
mod state;

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{ConversationId, Id, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_db::{Migration, StatementPool, migrate_postgres};
use tracing::instrument;
use uuid::Uuid;

use self::append::Writer;
use super::{CONTEXT, Store};
use crate::model::{
    Appended, Batch, ConversationState, Followed, HistoryFrom, HistoryPage, JournalHead, JournalPage, Message, Missed,
    ReadPosition, ReadState, ReadUpTo, ReplayPage,
};

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../../../../migrations/message/postgres/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "refusals",
        sql: include_str!("../../../../migrations/message/postgres/0002_refusals.sql"),
    },
];

/// Every statement of this context looks rows up by key: one plan does for all arguments, made once, and none may read a
/// whole table, not even one that was made when the table was small. Nothing is worth compiling.
const KEYED_PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

/// Sessions that read for users.
const SESSIONS_MAX: u32 = 10;
/// Four reads of memberships, a page and the head at once.
const FEED_SESSIONS_MAX: u32 = 6;

/// The store on PostgreSQL.
#[derive(Debug)]
pub(super) struct PostgresStore {
    pool: StatementPool,
    /// Of the feed: however many read, it hears of what was stored.
    feed: StatementPool,
    writer: Writer,
}

impl PostgresStore {
    /// Migrates the schema `message`.
    ///
    /// # Errors
    /// As [`migrate_postgres`].
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = migrate_postgres(url, CONTEXT, MIGRATIONS).await?.options(KEYED_PLANS);
        let pool = |sessions_max| StatementPool::new(options.clone(), sessions_max);
        Ok(Self { pool: pool(SESSIONS_MAX), feed: pool(FEED_SESSIONS_MAX), writer: Writer::new(options.clone()) })
    }
}

#[async_trait]
impl Store for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn journal(&self) -> Result<JournalHead> {
        feed::journal(&self.feed).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn bus_key(&self) -> Result<BusKey> {
        feed::bus_key(&self.pool).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn renew_identity(&self) -> Result<()> {
        feed::renew_identity(&self.pool).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn append(&self, batch: Batch, now: Timestamp) -> Result<Appended> {
        self.writer.append(&batch, now).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_journal(&self, after: Position, limit: u32) -> Result<JournalPage> {
        feed::read_journal(&self.feed, after, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn follow(&self, users: &[UserId]) -> Result<Followed> {
        feed::follow(&self.feed, users).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn find_p2p(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Option<ConversationId>>> {
        state::find_p2p(&self.pool, pairs).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn missed(&self, user: UserId, after: Position) -> Result<Missed> {
        feed::missed(&self.pool, user, after).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        limit: u32,
    ) -> Result<ReplayPage> {
        feed::replay(&self.pool, user, after, excluded, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn message(&self, user: UserId, conversation: ConversationId, message: MessageId) -> Result<Option<Message>> {
        history::message(&self.pool, user, conversation, message).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        from: HistoryFrom,
        rows: PageSize,
    ) -> Result<HistoryPage> {
        history::history(&self.pool, user, conversation, from, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn conversations(
        &self,
        user: UserId,
        after: Option<(Timestamp, ConversationId)>,
        rows: PageSize,
    ) -> Result<Vec<ConversationState>> {
        state::conversations(&self.pool, user, after, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>> {
        state::states(&self.pool, user, conversations).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>> {
        state::read_positions(&self.pool, user, conversation, users).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        now: Timestamp,
    ) -> Result<ReadState> {
        state::mark_read(&self.pool, user, conversation, up_to, now).await
    }
}

fn uuids<K>(ids: &[Id<K>]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
