//! Persistence of this context, on PostgreSQL or SQLite: where their statements differ both stand side by side, and one
//! contract suite runs on each. A change is one transaction whose steps the domain puts together, so that their order
//! has one home.

mod migrations;
mod rows;
mod transaction;

use messenger_core::{ConversationId, Id, Result, UserId, page::PageSize};
use messenger_db::{Database, List, Location, Sql};
use tracing::instrument;
use uuid::Uuid;

use self::rows::{FoundP2pRow, ParticipantRow, PendingRow, ViewRow, digest, read};
pub use self::transaction::Transaction;
use crate::model::{ConversationView, FoundP2p, Pair, Participant, PendingChange, RequestDigest};

/// Of this context: its schema in PostgreSQL, its file in SQLite.
const CONTEXT: &str = "conversation";
const CONNECTIONS_MAX: u32 = 10;

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// One line for the operator when the store cannot be used or its schema is newer than this program.
pub async fn open(location: &Location) -> Result<Store> {
    let database = Database::open(location, CONTEXT, migrations::MIGRATIONS, CONNECTIONS_MAX).await?;
    Ok(Store { database })
}

/// What this context keeps. Every error is UNAVAILABLE (passes by itself) or INTERNAL.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Begins a change.
    #[instrument(level = "debug", skip_all)]
    pub async fn begin(&self) -> Result<Transaction> {
        self.database.begin().await.map(Transaction::new)
    }

    /// The conversation of a pair.
    #[instrument(level = "debug", skip_all)]
    pub async fn find_p2p(&self, pair: Pair) -> Result<Option<FoundP2p>> {
        let row: Option<FoundP2pRow> = self
            .database
            .read(
                "SELECT c.*, NOT EXISTS (SELECT 1 FROM outbox o WHERE o.conversation_id = c.id) AS is_delivered
                 FROM p2p JOIN conversation c ON c.id = p2p.conversation_id
                 WHERE p2p.user_low = $1 AND p2p.user_high = $2",
            )
            .bind(pair.low.uuid())
            .bind(pair.high.uuid())
            .fetch_optional()
            .await?;
        row.map(FoundP2p::try_from).transpose()
    }

    /// The digest of the request that made this group under a key of its creator.
    #[instrument(level = "debug", skip_all)]
    pub async fn group_request(&self, conversation: ConversationId) -> Result<Option<RequestDigest>> {
        let row: Option<(Vec<u8>,)> = self
            .database
            .read("SELECT digest FROM group_request WHERE conversation_id = $1")
            .bind(conversation.uuid())
            .fetch_optional()
            .await?;
        row.map(|(bytes,)| digest(bytes)).transpose()
    }

    /// The conversation as the user sees it; none when the user takes no part.
    #[instrument(level = "debug", skip_all)]
    pub async fn view(&self, user: UserId, conversation: ConversationId) -> Result<Option<ConversationView>> {
        Ok(self.views(user, &[conversation]).await?.pop())
    }

    /// Those of the conversations the user takes part in.
    #[instrument(level = "debug", skip_all)]
    pub async fn views(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationView>> {
        let rows: Vec<ViewRow> = self
            .database
            .read(Sql {
                postgres: "SELECT c.*, me.role, peer.user_id AS peer_user_id
                     FROM participant me
                     JOIN conversation c ON c.id = me.conversation_id
                     LEFT JOIN participant peer
                         ON c.type = 1 AND peer.conversation_id = c.id AND peer.user_id <> me.user_id
                     WHERE me.user_id = $1 AND me.conversation_id = ANY($2)
                     ORDER BY me.conversation_id",
                sqlite: "SELECT c.*, me.role, peer.user_id AS peer_user_id
                     FROM participant me
                     JOIN conversation c ON c.id = me.conversation_id
                     LEFT JOIN participant peer
                         ON c.type = 1 AND peer.conversation_id = c.id AND peer.user_id <> me.user_id
                     WHERE me.user_id = $1 AND me.conversation_id IN (SELECT unhex(value, '-') FROM json_each($2))
                     ORDER BY me.conversation_id",
            })
            .bind(user.uuid())
            .bind(List::from(conversations))
            .fetch_all()
            .await?;
        read(rows)
    }

    /// The user's conversations after the given one by their ids; one row more than the page has if there are more.
    #[instrument(level = "debug", skip_all)]
    pub async fn list(
        &self,
        user: UserId,
        after: Option<ConversationId>,
        page: PageSize,
    ) -> Result<Vec<ConversationView>> {
        let rows: Vec<ViewRow> = self
            .database
            .read(
                "SELECT c.*, me.role, peer.user_id AS peer_user_id
                 FROM participant me
                 JOIN conversation c ON c.id = me.conversation_id
                 LEFT JOIN participant peer
                     ON c.type = 1 AND peer.conversation_id = c.id AND peer.user_id <> me.user_id
                 WHERE me.user_id = $1 AND me.conversation_id > $2
                 ORDER BY me.conversation_id LIMIT $3",
            )
            .bind(user.uuid())
            .bind(uuid_or_nil(after))
            .bind(page.rows_and_one())
            .fetch_all()
            .await?;
        read(rows)
    }

    /// The participants after the given user by their user ids, one row more than the page has if there are more.
    /// None at all when `user` takes no part.
    #[instrument(level = "debug", skip_all)]
    pub async fn participants(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: Option<UserId>,
        page: PageSize,
    ) -> Result<Vec<Participant>> {
        let rows: Vec<ParticipantRow> = self
            .database
            .read(
                "SELECT p.id, p.conversation_id, p.user_id, p.role, p.joined_at
                 FROM participant me JOIN participant p ON p.conversation_id = me.conversation_id
                 WHERE me.conversation_id = $1 AND me.user_id = $2 AND p.user_id > $3
                 ORDER BY p.user_id LIMIT $4",
            )
            .bind(conversation.uuid())
            .bind(user.uuid())
            .bind(uuid_or_nil(after))
            .bind(page.rows_and_one())
            .fetch_all()
            .await?;
        read(rows)
    }

    /// The changes above `version` that the journal has not acknowledged, at most `rows`, the lowest version first.
    #[instrument(level = "debug", skip_all)]
    pub async fn pending(&self, conversation: ConversationId, version: i64, rows: u32) -> Result<Vec<PendingChange>> {
        let rows: Vec<PendingRow> = self
            .database
            .read(
                "SELECT version, body FROM outbox
                 WHERE conversation_id = $1 AND version > $2 ORDER BY version LIMIT $3",
            )
            .bind(conversation.uuid())
            .bind(version)
            .bind(i64::from(rows))
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(PendingChange::from).collect())
    }

    /// Forgets the changes up to `version`: the journal has them.
    #[instrument(level = "debug", skip_all)]
    pub async fn acknowledge(&self, conversation: ConversationId, version: i64) -> Result<()> {
        self.database
            .write("DELETE FROM outbox WHERE conversation_id = $1 AND version <= $2")
            .bind(conversation.uuid())
            .bind(version)
            .execute()
            .await?;
        Ok(())
    }

    /// Conversations with unacknowledged changes, after the given one by their ids, at most `rows`.
    #[instrument(level = "debug", skip_all)]
    pub async fn undelivered(&self, after: Option<ConversationId>, rows: u32) -> Result<Vec<ConversationId>> {
        let ids: Vec<(Uuid,)> = self
            .database
            .read(
                "SELECT DISTINCT conversation_id FROM outbox
                 WHERE conversation_id > $1 ORDER BY conversation_id LIMIT $2",
            )
            .bind(uuid_or_nil(after))
            .bind(i64::from(rows))
            .fetch_all()
            .await?;
        Ok(ids.into_iter().map(|(id,)| ConversationId::from_uuid(id)).collect())
    }
}

/// What to compare with for "after none": lower than every id of ours.
fn uuid_or_nil<K>(id: Option<Id<K>>) -> Uuid {
    id.map_or(Uuid::nil(), Id::uuid)
}
