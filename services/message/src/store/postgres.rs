//! The store on PostgreSQL.

mod append;
mod bugs;
mod feed;
mod history;
mod state;

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{ConversationId, Id, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_db::{Migration, open_postgres, postgres_options};
use sqlx::PgPool;
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

/// The store on PostgreSQL: a pool to read, one connection of its own to append.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    writer: Writer,
}

impl PostgresStore {
    /// Migrates the schema `message` and opens a pool of at most `connections_max` connections, beside the writer's.
    ///
    /// # Errors
    /// As [`open_postgres`].
    pub async fn open(url: &str, connections_max: u32) -> Result<Self> {
        let pool = open_postgres(url, CONTEXT, MIGRATIONS, connections_max).await?;
        let options = postgres_options(url, CONTEXT)?.options(KEYED_PLANS);
        // The pool is lazy: no connection was made without these yet.
        pool.set_connect_options(options.clone());
        Ok(Self { pool, writer: Writer::new(options) })
    }
}

#[async_trait]
impl Store for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn journal(&self) -> Result<JournalHead> {
        feed::journal(&self.pool).await
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
        feed::read_journal(&self.pool, after, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn follow(&self, users: &[UserId]) -> Result<Followed> {
        feed::follow(&self.pool, users).await
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
