//! The journal read: in full, for one user, and who is to hear what.

use async_trait::async_trait;
use messenger_bus::BusKey;
use messenger_core::{Bug, ConversationId, JournalId, Position, Result, UserId, is_seeded, limits};
use tracing::instrument;
use uuid::Uuid;

use super::{PostgresStore, SESSIONS_MAX, uuids};
use crate::{
    model::{Followed, JournalHead, JournalPage, Missed, ReplayPage},
    store::{
        FeedStore,
        rows::{EntryRow, FollowColumns, MissedRow, followed, journal_page, missed_in, replay_page},
    },
};

const JOURNAL: &str = "SELECT identity, last_position FROM journal WHERE id = 1";

const BUS_KEY: &str = "SELECT bus_key FROM journal WHERE id = 1";

const RENEW_IDENTITY: &str = "
UPDATE journal SET identity = gen_random_uuid(), bus_key = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
WHERE id = 1";

/// `position + 0` names the index that is in the order of the journal.
const READ_JOURNAL: &str = "
SELECT j.last_position, e.* FROM journal j LEFT JOIN (
    (SELECT m.position, m.conversation_id, NULL::bytea AS body, h.type, m.origin,
            m.id, m.seq, m.sender_id, m.content, m.created_at, m.client_message_id, m.reply_to_id, m.metadata
     FROM message m JOIN head h ON h.conversation_id = m.conversation_id
     WHERE m.position + 0 > $1 ORDER BY m.position + 0 LIMIT $2)
    UNION ALL
    (SELECT c.position, c.conversation_id, c.body, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
     FROM change c WHERE c.position + 0 > $1 ORDER BY c.position + 0 LIMIT $2)
    ORDER BY position LIMIT $2
) e ON true WHERE j.id = 1 ORDER BY e.position";

const FOLLOW: &str = "
SELECT j.last_position, p.user_id, p.conversation_id
FROM journal j LEFT JOIN membership p ON p.user_id = ANY($1) WHERE j.id = 1";

/// Stretches of the journal that are the user's: of each conversation it takes part in what came after it joined; of
/// each membership that ended its end, and the rest of it only if the user takes part again. Ends are counted to where they
/// are too many to be replayed: whoever may remove and add somebody can make any number of them.
const MISSED: &str = "
WITH span AS (
    SELECT p.conversation_id, GREATEST($2, p.joined_position - 1) AS low, 9223372036854775807 AS high
    FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
    WHERE p.user_id = $1 AND h.last_position > $2
    UNION ALL
    SELECT d.conversation_id,
           CASE WHEN p.user_id IS NULL THEN d.position - 1 ELSE GREATEST($2, d.joined_position - 1) END, d.position
    FROM (SELECT * FROM departure WHERE user_id = $1 AND position > $2 ORDER BY position LIMIT $3) d
    LEFT JOIN membership p ON p.conversation_id = d.conversation_id AND p.user_id = d.user_id
), bounds AS (
    SELECT s.conversation_id,
        (SELECT seq FROM message m WHERE m.conversation_id = s.conversation_id
         AND m.position > s.low AND m.position <= s.high ORDER BY m.position LIMIT 1) AS first_seq,
        (SELECT seq FROM message m WHERE m.conversation_id = s.conversation_id
         AND m.position > s.low AND m.position <= s.high ORDER BY m.position DESC LIMIT 1) AS last_seq,
        (SELECT version FROM change c WHERE c.conversation_id = s.conversation_id
         AND c.position > s.low AND c.position <= s.high ORDER BY c.position LIMIT 1) AS first_version,
        (SELECT version FROM change c WHERE c.conversation_id = s.conversation_id
         AND c.position > s.low AND c.position <= s.high ORDER BY c.position DESC LIMIT 1) AS last_version
    FROM span s
)
SELECT conversation_id, first_seq, COALESCE(last_seq - first_seq + 1, 0) AS messages,
       COALESCE(last_seq - first_seq + 1, 0) + COALESCE(last_version - first_version + 1, 0) AS entries
FROM bounds";

/// The stretches of [`MISSED`], read from each only as far as the page may go.
const REPLAY: &str = "
WITH span AS (
    SELECT p.conversation_id, GREATEST($2, p.joined_position - 1) AS low, 9223372036854775807 AS high
    FROM membership p JOIN head h ON h.conversation_id = p.conversation_id
    WHERE p.user_id = $1 AND h.last_position > $2 AND NOT p.conversation_id = ANY($3)
    UNION ALL
    SELECT d.conversation_id,
           CASE WHEN p.user_id IS NULL THEN d.position - 1 ELSE GREATEST($2, d.joined_position - 1) END, d.position
    FROM departure d LEFT JOIN membership p ON p.conversation_id = d.conversation_id AND p.user_id = d.user_id
    WHERE d.user_id = $1 AND d.position > $2 AND (p.user_id IS NULL OR NOT d.conversation_id = ANY($3))
)
SELECT j.last_position, e.* FROM journal j LEFT JOIN (
    SELECT x.* FROM span s CROSS JOIN LATERAL (
        (SELECT m.position, m.conversation_id, NULL::bytea AS body, h.type, m.origin,
                m.id, m.seq, m.sender_id, m.content, m.created_at, m.client_message_id, m.reply_to_id, m.metadata
         FROM message m JOIN head h ON h.conversation_id = m.conversation_id
         WHERE m.conversation_id = s.conversation_id AND m.position > s.low AND m.position <= s.high
         ORDER BY m.position LIMIT $4)
        UNION ALL
        (SELECT c.position, c.conversation_id, c.body, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
         FROM change c
         WHERE c.conversation_id = s.conversation_id AND c.position > s.low AND c.position <= s.high
         ORDER BY c.position LIMIT $4)
    ) x ORDER BY x.position LIMIT $4
) e ON true WHERE j.id = 1 ORDER BY e.position";

#[async_trait]
impl FeedStore for PostgresStore {
    fn readers(&self) -> usize {
        SESSIONS_MAX as usize
    }

    #[instrument(level = "debug", skip_all)]
    async fn journal(&self) -> Result<JournalHead> {
        let (identity, last): (Uuid, i64) = self.feed.fetch_one(sqlx::query_as(JOURNAL)).await?;
        Ok(JournalHead { id: JournalId(identity), last: Position(last) })
    }

    #[instrument(level = "debug", skip_all)]
    async fn bus_key(&self) -> Result<BusKey> {
        let (secret,): (Vec<u8>,) = self.pool.fetch_one(sqlx::query_as(BUS_KEY)).await?;
        Ok(BusKey::new(&secret))
    }

    #[instrument(level = "debug", skip_all)]
    async fn renew_identity(&self) -> Result<()> {
        self.pool.execute(sqlx::query(RENEW_IDENTITY)).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn read_journal(&self, after: Position, limit: u32) -> Result<JournalPage> {
        let query = sqlx::query_as(READ_JOURNAL).bind(after.0).bind(i64::from(limit) + 1);
        let rows: Vec<EntryRow> = self.feed.fetch_all(query).await?;
        journal_page(rows, limit)
    }

    #[instrument(level = "debug", skip_all)]
    async fn follow(&self, users: &[UserId]) -> Result<Followed> {
        let rows: Vec<FollowColumns> = self.feed.fetch_all(sqlx::query_as(FOLLOW).bind(uuids(users))).await?;
        Ok(followed(rows))
    }

    #[instrument(level = "debug", skip_all)]
    async fn missed(&self, user: UserId, after: Position) -> Result<Missed> {
        let query = sqlx::query_as(MISSED).bind(user.uuid()).bind(after.0).bind(limits::REPLAY_ENTRIES_MAX + 1);
        let rows: Vec<MissedRow> = self.pool.fetch_all(query).await?;
        Ok(missed_in(rows))
    }

    #[instrument(level = "debug", skip_all)]
    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        limit: u32,
    ) -> Result<ReplayPage> {
        let after = after.0 + i64::from(is_seeded(Bug::ReplayOffByOne));
        let query =
            sqlx::query_as(REPLAY).bind(user.uuid()).bind(after).bind(uuids(excluded)).bind(i64::from(limit) + 1);
        let rows: Vec<EntryRow> = self.pool.fetch_all(query).await?;
        replay_page(rows, limit)
    }
}
