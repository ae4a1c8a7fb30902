//! What a user's conversations look like to it: state, P2P by pair, read positions.

use async_trait::async_trait;
use messenger_core::{ConversationId, Error, Result, Timestamp, UserId, page::PageSize};
use messenger_db::error;
use serde_json::json;
use tracing::instrument;
use uuid::Uuid;

use super::{SqliteStore, ids};
use crate::{
    model::{ConversationState, ReadPosition, ReadState, ReadUpTo},
    store::{
        StateStore,
        rows::{ReadPositionColumns, ReadStateRow, StateRow, read_positions_in, states_in},
    },
};

const FIND_P2P: &str = "
SELECT p.conversation_id FROM json_each($1) u
LEFT JOIN p2p p ON p.user_low = unhex(u.value ->> 0) AND p.user_high = unhex(u.value ->> 1) ORDER BY u.key";

const CONVERSATIONS: &str = "
SELECT s.*, m.id, m.seq, m.sender_id, m.content, m.created_at, m.client_message_id, m.reply_to_id, m.metadata FROM (
    SELECT h.conversation_id, h.type, p.role, h.last_seq, p.read_seq, p.read_at, h.last_activity_at
    FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
    WHERE p.user_id = $1 AND ($2 IS NULL OR (h.last_activity_at, h.conversation_id) < ($2, $3))
    ORDER BY h.last_activity_at DESC, h.conversation_id DESC LIMIT $4
) s LEFT JOIN message m ON m.position = (
    SELECT x.position FROM message x WHERE x.conversation_id = s.conversation_id ORDER BY x.position DESC LIMIT 1)
ORDER BY s.last_activity_at DESC, s.conversation_id DESC";

const STATES: &str = "
SELECT h.conversation_id, h.type, p.role, h.last_seq, p.read_seq, p.read_at, h.last_activity_at, m.id, m.seq, m.sender_id, m.content, m.created_at, m.client_message_id, m.reply_to_id, m.metadata
FROM json_each($2) c
JOIN membership p ON p.conversation_id = unhex(c.value) AND p.user_id = $1
JOIN head h ON h.conversation_id = p.conversation_id
LEFT JOIN message m ON m.position = (
    SELECT x.position FROM message x WHERE x.conversation_id = h.conversation_id ORDER BY x.position DESC LIMIT 1)";

const READ_POSITIONS: &str = "
SELECT q.user_id, q.read_seq, q.read_at FROM membership p
LEFT JOIN membership q ON q.conversation_id = p.conversation_id
     AND q.user_id IN (SELECT unhex(value) FROM json_each($3))
WHERE p.conversation_id = $1 AND p.user_id = $2";

/// A message that is not there makes the comparison null: nothing rises.
const MARK_READ: &str = "
UPDATE membership AS p SET read_seq = min(t.seq, h.last_seq), read_at = $5
FROM head h, (SELECT COALESCE($3, (SELECT seq FROM message WHERE id = $4 AND conversation_id = $1)) AS seq) t
WHERE p.conversation_id = $1 AND p.user_id = $2 AND h.conversation_id = $1
  AND p.read_seq < t.seq AND p.read_seq < h.last_seq";

const READ_STATE: &str = "
SELECT p.read_seq, p.read_at, h.last_seq, h.participant_count
FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
WHERE p.conversation_id = $1 AND p.user_id = $2
  AND ($3 IS NULL OR EXISTS (SELECT 1 FROM message WHERE id = $3 AND conversation_id = $1))";

#[async_trait]
impl StateStore for SqliteStore {
    #[instrument(level = "debug", skip_all)]
    async fn find_p2p(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Option<ConversationId>>> {
        let pair =
            |&(a, b): &(UserId, UserId)| [a.min(b).uuid().simple().to_string(), a.max(b).uuid().simple().to_string()];
        let pairs = json!(pairs.iter().map(pair).collect::<Vec<_>>());
        let query = sqlx::query_scalar(FIND_P2P).bind(pairs.to_string());
        let rows: Vec<Option<Uuid>> = query.fetch_all(&self.pools.reader).await.map_err(error)?;
        Ok(rows.into_iter().map(|id| id.map(ConversationId::from_uuid)).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn conversations(
        &self,
        user: UserId,
        after: Option<(Timestamp, ConversationId)>,
        rows: PageSize,
    ) -> Result<Vec<ConversationState>> {
        let (time, id) = after.map(|(time, id)| (time.as_micros(), id.uuid())).unzip();
        let query = sqlx::query_as(CONVERSATIONS).bind(user.uuid()).bind(time).bind(id).bind(rows.rows_and_one());
        let rows: Vec<StateRow> = query.fetch_all(&self.pools.reader).await.map_err(error)?;
        states_in(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>> {
        let query = sqlx::query_as(STATES).bind(user.uuid()).bind(ids(conversations));
        let rows: Vec<StateRow> = query.fetch_all(&self.pools.reader).await.map_err(error)?;
        states_in(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>> {
        let query = sqlx::query_as(READ_POSITIONS).bind(conversation.uuid()).bind(user.uuid()).bind(ids(users));
        let rows: Vec<ReadPositionColumns> = query.fetch_all(&self.pools.reader).await.map_err(error)?;
        read_positions_in(rows)
    }

    /// Two statements, since RETURNING sees one table only: the second reads what is there by then, never less than was
    /// there before.
    #[instrument(level = "debug", skip_all)]
    async fn mark_read(
        &self,
        user: UserId,
        conversation: ConversationId,
        up_to: ReadUpTo,
        now: Timestamp,
    ) -> Result<ReadState> {
        let (seq, message) = match up_to {
            ReadUpTo::Seq(seq) => (Some(seq), None),
            ReadUpTo::Message(id) => (None, Some(id.uuid())),
        };
        let query = sqlx::query(MARK_READ).bind(conversation.uuid()).bind(user.uuid());
        let query = query.bind(seq).bind(message).bind(now.as_micros());
        let rose = query.execute(&self.pools.writer).await.map_err(error)?.rows_affected() > 0;
        let query = sqlx::query_as(READ_STATE).bind(conversation.uuid()).bind(user.uuid()).bind(message);
        let row: Option<ReadStateRow> = query.fetch_optional(&self.pools.writer).await.map_err(error)?;
        Ok(row.ok_or_else(|| Error::not_found("no such conversation or message"))?.state(rose))
    }
}
