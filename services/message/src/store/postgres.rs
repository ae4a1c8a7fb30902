//! The store on PostgreSQL.

mod append;
mod bugs;
mod feed;
mod history;
mod state;

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{ConversationId, Id, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_db::{Migration, Sessions, migrate_postgres};
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

/// Four reads of memberships, a page and the head at once.
const FEED_SESSIONS: u32 = 6;

/// The store on PostgreSQL: sessions to read, six for the feed, one to append.
#[derive(Debug)]
pub struct PostgresStore {
    sessions: Sessions,
    /// Of the feed: however many read, it hears of what was stored.
    feed: Sessions,
    writer: Writer,
}

impl PostgresStore {
    /// Migrates the schema `message`. Reads with at most `sessions_max` sessions, beside six of the feed and the writer's.
    ///
    /// # Errors
    /// As [`migrate_postgres`].
    pub async fn open(url: &str, sessions_max: u32) -> Result<Self> {
        let options = migrate_postgres(url, CONTEXT, MIGRATIONS).await?.options(KEYED_PLANS);
        let sessions = |sessions_max| Sessions::new(options.clone(), sessions_max);
        Ok(Self {
            sessions: sessions(sessions_max),
            feed: sessions(FEED_SESSIONS),
            writer: Writer::new(options.clone()),
        })
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
        feed::bus_key(&self.sessions).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn renew_identity(&self) -> Result<()> {
        feed::renew_identity(&self.sessions).await
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
        state::find_p2p(&self.sessions, pairs).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn missed(&self, user: UserId, after: Position) -> Result<Missed> {
        feed::missed(&self.sessions, user, after).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        limit: u32,
    ) -> Result<ReplayPage> {
        feed::replay(&self.sessions, user, after, excluded, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn message(&self, user: UserId, conversation: ConversationId, message: MessageId) -> Result<Option<Message>> {
        history::message(&self.sessions, user, conversation, message).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        from: HistoryFrom,
        rows: PageSize,
    ) -> Result<HistoryPage> {
        history::history(&self.sessions, user, conversation, from, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn conversations(
        &self,
        user: UserId,
        after: Option<(Timestamp, ConversationId)>,
        rows: PageSize,
    ) -> Result<Vec<ConversationState>> {
        state::conversations(&self.sessions, user, after, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>> {
        state::states(&self.sessions, user, conversations).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>> {
        state::read_positions(&self.sessions, user, conversation, users).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        now: Timestamp,
    ) -> Result<ReadState> {
        state::mark_read(&self.sessions, user, conversation, up_to, now).await
    }
}

fn uuids<K>(ids: &[Id<K>]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
