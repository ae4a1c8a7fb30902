//! The store on SQLite: one writer connection, some readers. Lists go in as JSON, ids in it as hex; drafts as values.

mod append;
mod feed;
mod history;
mod multi_row;
mod state;

use std::path::Path;

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{ConversationId, Id, MessageId, Position, Result, Timestamp, UserId, page::PageSize};
use messenger_db::{Migration, SqlitePools, open_sqlite};
use tracing::instrument;

use super::Store;
use crate::model::{
    Appended, Batch, ConversationState, Followed, HistoryFrom, HistoryPage, JournalHead, JournalPage, Message, Missed,
    ReadPosition, ReadState, ReadUpTo, ReplayPage,
};

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../../../../migrations/message/sqlite/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "refusals",
        sql: include_str!("../../../../migrations/message/sqlite/0002_refusals.sql"),
    },
];

/// The store on SQLite.
#[derive(Debug)]
pub(super) struct SqliteStore {
    pools: SqlitePools,
}

impl SqliteStore {
    /// Opens the file, made if it is missing, and migrates it.
    ///
    /// # Errors
    /// As [`open_sqlite`].
    pub(super) async fn open(file: &Path) -> Result<Self> {
        Ok(Self { pools: open_sqlite(file, MIGRATIONS).await? })
    }
}

#[async_trait]
impl Store for SqliteStore {
    #[instrument(level = "debug", skip_all)]
    async fn journal(&self) -> Result<JournalHead> {
        feed::journal(&self.pools.reader).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn bus_key(&self) -> Result<BusKey> {
        feed::bus_key(&self.pools.reader).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn renew_identity(&self) -> Result<()> {
        feed::renew_identity(&self.pools.writer).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn append(&self, batch: Batch, now: Timestamp) -> Result<Appended> {
        append::append(&self.pools.writer, batch, now).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_journal(&self, after: Position, limit: u32) -> Result<JournalPage> {
        feed::read_journal(&self.pools.reader, after, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn follow(&self, users: &[UserId]) -> Result<Followed> {
        feed::follow(&self.pools.reader, users).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn find_p2p(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Option<ConversationId>>> {
        state::find_p2p(&self.pools.reader, pairs).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn missed(&self, user: UserId, after: Position) -> Result<Missed> {
        feed::missed(&self.pools.reader, user, after).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        limit: u32,
    ) -> Result<ReplayPage> {
        feed::replay(&self.pools.reader, user, after, excluded, limit).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn message(&self, user: UserId, conversation: ConversationId, message: MessageId) -> Result<Option<Message>> {
        history::message(&self.pools.reader, user, conversation, message).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        from: HistoryFrom,
        rows: PageSize,
    ) -> Result<HistoryPage> {
        history::history(&self.pools.reader, user, conversation, from, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn conversations(
        &self,
        user: UserId,
        after: Option<(Timestamp, ConversationId)>,
        rows: PageSize,
    ) -> Result<Vec<ConversationState>> {
        state::conversations(&self.pools.reader, user, after, rows).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>> {
        state::states(&self.pools.reader, user, conversations).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>> {
        state::read_positions(&self.pools.reader, user, conversation, users).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        now: Timestamp,
    ) -> Result<ReadState> {
        state::mark_read(&self.pools.writer, user, conversation, up_to, now).await
    }
}

/// A JSON list of ids.
fn ids<K>(ids: &[Id<K>]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid().simple().to_string()).collect();
    serde_json::json!(ids).to_string()
}
