//! Messages of one conversation, for one of its participants.

use async_trait::async_trait;
use messenger_core::{ConversationId, MessageId, Result, UserId, page::PageSize};
use messenger_db::PostgresPool;
use tracing::instrument;

use super::PostgresStore;
use crate::{
    model::{HistoryFrom, HistoryPage, Message},
    store::{
        HistoryStore,
        rows::{HistoryRow, MessageRow, around, history_page},
    },
};

const MESSAGE: &str = "
SELECT m.id, m.seq, m.sender_id, m.content, m.created_at, m.client_message_id, m.reply_to_id, m.metadata
FROM membership p JOIN message m ON m.conversation_id = p.conversation_id
WHERE p.conversation_id = $1 AND p.user_id = $2 AND m.id = $3";

const HISTORY_NEWEST: &str = "
SELECT true AS is_anchored, m.* FROM membership p LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = p.conversation_id ORDER BY m.position DESC LIMIT $3
) m ON true WHERE p.conversation_id = $1 AND p.user_id = $2 ORDER BY m.seq DESC";

const HISTORY_BEFORE: &str = "
SELECT a.position IS NOT NULL AS is_anchored, m.* FROM membership p
LEFT JOIN message a ON a.id = $4 AND a.conversation_id = p.conversation_id
LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = p.conversation_id AND m.position < a.position
    ORDER BY m.position DESC LIMIT $3
) m ON true WHERE p.conversation_id = $1 AND p.user_id = $2 ORDER BY m.seq DESC";

const HISTORY_AFTER: &str = "
SELECT a.position IS NOT NULL AS is_anchored, m.* FROM membership p
LEFT JOIN message a ON a.id = $4 AND a.conversation_id = p.conversation_id
LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = p.conversation_id AND m.position > a.position
    ORDER BY m.position LIMIT $3
) m ON true WHERE p.conversation_id = $1 AND p.user_id = $2 ORDER BY m.seq";

/// From this message on, newest first: with [`HISTORY_AFTER`] the two sides of `Around`.
const HISTORY_UP_TO: &str = "
SELECT a.position IS NOT NULL AS is_anchored, m.* FROM membership p
LEFT JOIN message a ON a.id = $4 AND a.conversation_id = p.conversation_id
LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = p.conversation_id AND m.position <= a.position
    ORDER BY m.position DESC LIMIT $3
) m ON true WHERE p.conversation_id = $1 AND p.user_id = $2 ORDER BY m.seq DESC";

/// The index on (conversation, created_at descending) finds the beginning; a whole batch has one creation time.
const HISTORY_AT: &str = "
SELECT true AS is_anchored, m.* FROM membership p
LEFT JOIN LATERAL (
    SELECT position FROM message a WHERE a.conversation_id = p.conversation_id AND a.created_at <= $4
    ORDER BY a.created_at DESC, a.position DESC LIMIT 1
) a ON true
LEFT JOIN LATERAL (
    SELECT id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
    FROM message m WHERE m.conversation_id = p.conversation_id AND m.position <= a.position
    ORDER BY m.position DESC LIMIT $3
) m ON true WHERE p.conversation_id = $1 AND p.user_id = $2 ORDER BY m.seq DESC";

#[async_trait]
impl HistoryStore for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn message(&self, user: UserId, conversation: ConversationId, message: MessageId) -> Result<Option<Message>> {
        let query = sqlx::query_as(MESSAGE).bind(conversation.uuid()).bind(user.uuid()).bind(message.uuid());
        let row: Option<MessageRow> = self.pool.fetch_optional(query).await?;
        Ok(row.and_then(|row| row.message(conversation.uuid())))
    }

    #[instrument(level = "debug", skip_all)]
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        from: HistoryFrom,
        rows: PageSize,
    ) -> Result<HistoryPage> {
        let stretch = |sql, rows| stretch(&self.pool, sql, (conversation, user), from, rows);
        let rows = rows.rows();
        match from {
            HistoryFrom::Newest => stretch(HISTORY_NEWEST, rows).await,
            HistoryFrom::Before(_) => stretch(HISTORY_BEFORE, rows).await,
            HistoryFrom::After(_) => stretch(HISTORY_AFTER, rows).await,
            // Two statements: messages only come after those there are, so the two sides fit.
            HistoryFrom::Around(_) => {
                let newer = stretch(HISTORY_AFTER, rows / 2).await?;
                Ok(around(newer, stretch(HISTORY_UP_TO, rows - rows / 2).await?))
            }
            HistoryFrom::At(_) => stretch(HISTORY_AT, rows).await,
        }
    }
}

async fn stretch(
    pool: &PostgresPool,
    sql: &'static str,
    (conversation, user): (ConversationId, UserId),
    from: HistoryFrom,
    rows: u32,
) -> Result<HistoryPage> {
    let query = sqlx::query_as(sql).bind(conversation.uuid()).bind(user.uuid()).bind(i64::from(rows) + 1);
    let query = match from {
        HistoryFrom::Newest => query,
        HistoryFrom::Before(id) | HistoryFrom::After(id) | HistoryFrom::Around(id) => query.bind(id.uuid()),
        HistoryFrom::At(time) => query.bind(time.as_micros()),
    };
    let found: Vec<HistoryRow> = pool.fetch_all(query).await?;
    history_page(found, conversation, rows)
}
