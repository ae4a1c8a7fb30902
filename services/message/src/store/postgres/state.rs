//! What a user's conversations look like to it: state, P2P by pair, read positions.

use async_trait::async_trait;
use messenger_core::{ConversationId, Error, Result, Timestamp, UserId, page::PageSize};
use tracing::instrument;
use uuid::Uuid;

use super::{PostgresStore, uuids};
use crate::{
    model::{ConversationState, ReadPosition, ReadState, ReadUpTo},
    store::{
        StateStore,
        rows::{ReadPositionColumns, ReadStateRow, StateRow, read_positions_in, states_in},
    },
};

const FIND_P2P: &str = "
SELECT p.conversation_id
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS u (user_low, user_high, n)
LEFT JOIN p2p p ON p.user_low = u.user_low AND p.user_high = u.user_high ORDER BY u.n";

const CONVERSATIONS: &str = "
SELECT s.*, m.* FROM (
    SELECT h.conversation_id, h.type, p.role, h.last_seq, p.read_seq, p.read_at, h.last_activity_at
    FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
    WHERE p.user_id = $1 AND ($2::bigint IS NULL OR (h.last_activity_at, h.conversation_id) < ($2, $3::uuid))
    ORDER BY h.last_activity_at DESC, h.conversation_id DESC LIMIT $4
) s LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = s.conversation_id ORDER BY m.position DESC LIMIT 1
) m ON true ORDER BY s.last_activity_at DESC, s.conversation_id DESC";

const STATES: &str = "
SELECT h.conversation_id, h.type, p.role, h.last_seq, p.read_seq, p.read_at, h.last_activity_at, m.*
FROM unnest($2::uuid[]) c (conversation_id)
JOIN membership p ON p.conversation_id = c.conversation_id AND p.user_id = $1
JOIN head h ON h.conversation_id = c.conversation_id
LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = c.conversation_id ORDER BY m.position DESC LIMIT 1
) m ON true";

const READ_POSITIONS: &str = "
SELECT q.user_id, q.read_seq, q.read_at FROM membership p
LEFT JOIN membership q ON q.conversation_id = p.conversation_id AND q.user_id = ANY($3)
WHERE p.conversation_id = $1 AND p.user_id = $2";

/// A message that is not there makes the comparison null: nothing rises.
const MARK_READ: &str = "
UPDATE membership p SET read_seq = LEAST(t.seq, h.last_seq), read_at = $5
FROM head h, (SELECT COALESCE($3, (SELECT seq FROM message WHERE id = $4 AND conversation_id = $1)) AS seq) t
WHERE p.conversation_id = $1 AND p.user_id = $2 AND h.conversation_id = $1
  AND p.read_seq < t.seq AND p.read_seq < h.last_seq
RETURNING p.read_seq, p.read_at, h.last_seq, h.participant_count";

const READ_STATE: &str = "
SELECT p.read_seq, p.read_at, h.last_seq, h.participant_count
FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
WHERE p.conversation_id = $1 AND p.user_id = $2
  AND ($3::uuid IS NULL OR EXISTS (SELECT 1 FROM message WHERE id = $3 AND conversation_id = $1))";

#[async_trait]
impl StateStore for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn find_p2p(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Option<ConversationId>>> {
        let low: Vec<Uuid> = pairs.iter().map(|&(a, b)| a.min(b).uuid()).collect();
        let high: Vec<Uuid> = pairs.iter().map(|&(a, b)| a.max(b).uuid()).collect();
        let query = sqlx::query_as(FIND_P2P).bind(low).bind(high);
        let rows: Vec<(Option<Uuid>,)> = self.pool.fetch_all(query).await?;
        Ok(rows.into_iter().map(|(id,)| id.map(ConversationId::from_uuid)).collect())
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
        let rows: Vec<StateRow> = self.pool.fetch_all(query).await?;
        states_in(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn states(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationState>> {
        let query = sqlx::query_as(STATES).bind(user.uuid()).bind(uuids(conversations));
        let rows: Vec<StateRow> = self.pool.fetch_all(query).await?;
        states_in(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_positions(
        &self,
        user: UserId,
        conversation: ConversationId,
        users: &[UserId],
    ) -> Result<Vec<ReadPosition>> {
        let query = sqlx::query_as(READ_POSITIONS).bind(conversation.uuid()).bind(user.uuid()).bind(uuids(users));
        let rows: Vec<ReadPositionColumns> = self.pool.fetch_all(query).await?;
        read_positions_in(rows)
    }

    /// Two statements, the second only when nothing rose: it reads what is there by then, never less than was there before.
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
        let query = sqlx::query_as(MARK_READ).bind(conversation.uuid()).bind(user.uuid());
        let query = query.bind(seq).bind(message).bind(now.as_micros());
        let risen: Option<ReadStateRow> = self.pool.fetch_optional(query).await?;
        if let Some(row) = risen {
            return Ok(row.state(true));
        }
        let query = sqlx::query_as(READ_STATE).bind(conversation.uuid()).bind(user.uuid()).bind(message);
        let row: Option<ReadStateRow> = self.pool.fetch_optional(query).await?;
        Ok(row.ok_or_else(|| Error::not_found("no such conversation or message"))?.state(false))
    }
}
