//! The writer: BEGIN IMMEDIATE on the one writer connection is the lock; one transaction a batch, a constant number of
//! statements. Drafts go in as lists of values, changes, which are few, as JSON.

use std::sync::LazyLock;

use async_trait::async_trait;
use messenger_core::{Id, MessageId, Result, Timestamp};
use messenger_db::run;
use serde_json::{Value, json};
use sqlx::{SqlitePool, SqliteTransaction};
use tracing::instrument;

use super::{SqliteStore, multi_row::MultiRow};
use crate::{
    model::{Appended, Batch, ChangeSet, ResolvedDraft},
    sequence::{AppliedChanges, ChangeFacts, DraftFacts, NumberedDrafts, Refusal, Sent},
    store::{
        Store,
        append::{Failure, JournalTx, Locked, Mode, forgotten_before, positions, touched, write},
        rows::{DraftColumns, HeadColumns, MembershipColumns, StoredRow, draft_facts, head, membership, stored_ids},
    },
};

#[async_trait]
impl Store for SqliteStore {
    /// In a task of its own: a panic ends this batch, and not the writer and with it the one process there is.
    #[instrument(level = "debug", skip_all)]
    async fn append(&self, batch: Batch, now: Timestamp) -> Result<Appended> {
        let pool = self.pools.writer.clone();
        run(async move {
            match transaction(&pool, &batch, now, Mode::Whole).await {
                Err(failure) if failure.is_refusal() => Ok(transaction(&pool, &batch, now, Mode::Apart).await?),
                answer => Ok(answer?),
            }
        })
        .await
    }
}

async fn transaction(pool: &SqlitePool, batch: &Batch, now: Timestamp, mode: Mode) -> Result<Appended, Failure> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let locked = lock(&mut tx, positions(batch), now).await?;
    let (appended, is_changed) = match write(&mut tx, batch, locked, mode).await {
        Ok(appended) => appended,
        Err(error) => {
            tx.rollback().await?;
            return Err(error.into());
        }
    };
    if is_changed {
        tx.commit().await.map_err(Failure::Commit)?;
    } else {
        // Nobody waits for the disk.
        tx.rollback().await?;
    }
    Ok(appended)
}

const LOCK: &str = "
UPDATE journal SET last_position = last_position + $1, last_created_at = max(last_created_at, $2)
WHERE id = 1 RETURNING last_position, last_created_at, refused_at";

async fn lock(tx: &mut SqliteTransaction<'_>, positions: i64, now: Timestamp) -> Result<Locked, sqlx::Error> {
    let query = sqlx::query_as(LOCK).bind(positions).bind(now.as_micros());
    Ok(Locked::new(query.fetch_one(&mut **tx).await?))
}

const HEADS: &str = "
SELECT conversation_id, type, is_restricted, version, participant_count, last_seq, last_position, last_activity_at
FROM head WHERE conversation_id IN (SELECT unhex(value) FROM json_each($1))";

const MEMBERSHIPS: &str = "
SELECT p.conversation_id, p.user_id, p.role, p.joined_position, p.joined_seq, p.read_seq, p.read_at
FROM json_each($1) u
JOIN membership p ON p.conversation_id = unhex(u.value ->> 0) AND p.user_id = unhex(u.value ->> 1)";

const INSERT_CHANGES: &str = "
INSERT INTO change (position, conversation_id, version, body)
SELECT value ->> 0, unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each($1)";

const INSERT_DEPARTURES: &str = "
INSERT INTO departure (user_id, position, conversation_id, joined_position)
SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2), value ->> 3 FROM json_each($1)";

const INSERT_PAIRS: &str = "
INSERT INTO p2p (user_low, user_high, conversation_id)
SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2) FROM json_each($1)";

const DELETE_MEMBERSHIPS: &str = "
DELETE FROM membership WHERE (conversation_id, user_id) IN
    (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))";

/// `WHERE true` keeps SQLite from reading ON CONFLICT as a join condition.
const WRITE_HEADS: &str = "
INSERT INTO head (conversation_id, type, is_restricted, version, participant_count, last_seq, last_position,
                  last_activity_at)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
FROM json_each($1) WHERE true
ON CONFLICT (conversation_id) DO UPDATE SET
    is_restricted = excluded.is_restricted, version = excluded.version,
    participant_count = excluded.participant_count, last_position = excluded.last_position";

const WRITE_MEMBERSHIPS: &str = "
INSERT INTO membership (conversation_id, user_id, role, joined_position, joined_seq, read_seq, read_at)
SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each($1) WHERE true
ON CONFLICT (conversation_id, user_id) DO UPDATE SET
    role = excluded.role, joined_position = excluded.joined_position, joined_seq = excluded.joined_seq,
    read_seq = max(membership.read_seq, excluded.read_seq)";

/// The message stored before is found by the sender's own key, else by message id where one is given; so is a refusal.
static DRAFT_FACTS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "WITH d (n, conversation_id, sender_id, client_message_id, message_id, reply_to_id) AS (VALUES ",
        "(?, ?, ?, ?, ?, ?)",
        ") SELECT h.type, h.is_restricted, h.last_seq, p.role, coalesce(k.id, i.id), r.reason, a.conversation_id
        FROM d
        LEFT JOIN head h ON h.conversation_id = d.conversation_id
        LEFT JOIN membership p ON p.conversation_id = d.conversation_id AND p.user_id = d.sender_id
        LEFT JOIN message k ON k.sender_id = d.sender_id AND k.client_message_id = d.client_message_id
        LEFT JOIN message i ON i.id = d.message_id
        LEFT JOIN refusal r ON r.message_id = d.message_id
        LEFT JOIN message a ON a.id = d.reply_to_id
        ORDER BY d.n",
    )
});

const STORED: &str = "
SELECT conversation_id, digest, id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
FROM message WHERE id IN (SELECT unhex(value) FROM json_each($1))";

/// OR FAIL leaves the rows before a refused one, so that SQLite need not be able to take them back, which costs it a copy
/// of each page: whoever gets the error rolls back further than this statement.
static INSERT_MESSAGES: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "INSERT OR FAIL INTO message (position, conversation_id, seq, id, sender_id, created_at, origin, reply_to_id,
                                      digest, client_message_id, content, metadata) VALUES ",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

static MOVE_HEADS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "WITH u (conversation_id, seq, position, at) AS (VALUES ",
        "(?, ?, ?, ?)",
        ") UPDATE head SET last_seq = u.seq, last_position = u.position, last_activity_at = u.at
        FROM u WHERE head.conversation_id = u.conversation_id",
    )
});

static MOVE_READS: LazyLock<MultiRow> = LazyLock::new(|| {
    MultiRow::new(
        "WITH u (conversation_id, user_id, seq, at) AS (VALUES ",
        "(?, ?, ?, ?)",
        ") UPDATE membership SET read_seq = u.seq, read_at = u.at
        FROM u WHERE membership.conversation_id = u.conversation_id AND membership.user_id = u.user_id",
    )
});

const INSERT_REFUSALS: &str = "
INSERT INTO refusal (message_id, reason, refused_at)
SELECT unhex(value ->> 0), value ->> 1, $2 FROM json_each($1) WHERE true
ON CONFLICT (message_id) DO NOTHING";

const FORGET_REFUSALS: &str = "DELETE FROM refusal WHERE refused_at < $1";

const MARK_REFUSALS: &str = "UPDATE journal SET refused_at = $1 WHERE id = 1";

#[async_trait]
impl JournalTx for SqliteTransaction<'_> {
    async fn change_facts(&mut self, sets: &[ChangeSet]) -> Result<ChangeFacts, sqlx::Error> {
        let mut facts = ChangeFacts::default();
        let heads = list(sets.iter().filter_map(|set| set.0.first()), |change| json!(hex(change.conversation_id)));
        let rows: Vec<HeadColumns> = sqlx::query_as(HEADS).bind(heads).fetch_all(&mut **self).await?;
        for row in rows {
            let (id, head) = head(row)?;
            facts.heads.insert(id, head);
        }
        let (conversations, users) = touched(sets);
        let keys = list(conversations.iter().zip(&users), |(conversation, user)| {
            json!([conversation.simple().to_string(), user.simple().to_string()])
        });
        let rows: Vec<MembershipColumns> = sqlx::query_as(MEMBERSHIPS).bind(keys).fetch_all(&mut **self).await?;
        for row in rows {
            let (key, membership) = membership(row)?;
            facts.memberships.insert(key, membership);
        }
        Ok(facts)
    }

    async fn write_changes(&mut self, changes: &AppliedChanges) -> Result<(), sqlx::Error> {
        let changed = list(&changes.changed, |row| {
            json!([row.position.0, hex(row.conversation_id), row.version, hex_bytes(&row.body)])
        });
        let departures = list(&changes.departures, |row| {
            json!([hex(row.user_id), row.position.0, hex(row.conversation_id), row.joined_position.0])
        });
        let pairs = list(&changes.pairs, |&(low, high, id)| json!([hex(low), hex(high), hex(id)]));
        let left = list(&changes.left, |&(id, user)| json!([hex(id), hex(user)]));
        let heads = list(&changes.heads, |(id, head)| {
            let (code, at) = (head.conversation_type.code(), head.last_activity_at.as_micros());
            let (version, count) = (head.version, head.participant_count);
            json!([hex(*id), code, head.is_restricted as i64, version, count, head.last_seq, head.last_position.0, at])
        });
        let memberships = list(&changes.memberships, |(id, user, row)| {
            let (joined, read_at) = (row.joined_position.0, row.read_at.map(Timestamp::as_micros));
            json!([hex(*id), hex(*user), row.role.code(), joined, row.joined_seq, row.read_seq, read_at])
        });
        for (sql, rows) in [
            (INSERT_CHANGES, changed),
            (INSERT_DEPARTURES, departures),
            (INSERT_PAIRS, pairs),
            (DELETE_MEMBERSHIPS, left),
            (WRITE_HEADS, heads),
            (WRITE_MEMBERSHIPS, memberships),
        ] {
            sqlx::query(sql).bind(rows).execute(&mut **self).await?;
        }
        Ok(())
    }

    async fn draft_facts(&mut self, drafts: &[ResolvedDraft], by_id: bool) -> Result<Vec<DraftFacts>, sqlx::Error> {
        let mut rows = Vec::with_capacity(drafts.len());
        for (sql, some) in DRAFT_FACTS.calls(drafts) {
            let mut query = sqlx::query_as::<_, DraftColumns>(sql);
            for (ResolvedDraft { conversation_id, draft, .. }, n) in some.iter().zip(0_i64..) {
                let looked_up = (by_id || draft.resent).then(|| draft.message_id.uuid());
                query = query.bind(n).bind(conversation_id.uuid()).bind(draft.sender_id.uuid());
                query = query.bind(draft.client_message_id.as_ref().map(|id| id.as_str()));
                query = query.bind(looked_up).bind(draft.reply_to_id.map(|id| id.uuid()));
            }
            rows.extend(query.fetch_all(&mut **self).await?);
        }
        let ids = stored_ids(&rows);
        let stored: Vec<StoredRow> = match ids.is_empty() {
            true => Vec::new(),
            false => {
                let ids = list(&ids, |id| json!(id.simple().to_string()));
                sqlx::query_as(STORED).bind(ids).fetch_all(&mut **self).await?
            }
        };
        draft_facts(rows, stored)
    }

    async fn write_drafts(&mut self, drafts: &NumberedDrafts, now: Timestamp) -> Result<(), sqlx::Error> {
        insert_messages(self, &drafts.sent, now).await?;
        let heads: Vec<_> = drafts.heads.iter().collect();
        for (sql, some) in MOVE_HEADS.calls(&heads) {
            let mut query = sqlx::query(sql);
            for (id, (seq, position)) in some {
                query = query.bind(id.uuid()).bind(seq).bind(position.0).bind(now.as_micros());
            }
            query.execute(&mut **self).await?;
        }
        let reads: Vec<_> = drafts.reads.iter().collect();
        for (sql, some) in MOVE_READS.calls(&reads) {
            let mut query = sqlx::query(sql);
            for ((id, user), seq) in some {
                query = query.bind(id.uuid()).bind(user.uuid()).bind(seq).bind(now.as_micros());
            }
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    async fn write_refusals(&mut self, refused: &[(MessageId, Refusal)], now: Timestamp) -> Result<(), sqlx::Error> {
        let refused = list(refused, |&(id, refusal)| json!([hex(id), refusal.code()]));
        let now_micros = now.as_micros();
        sqlx::query(INSERT_REFUSALS).bind(refused).bind(now_micros).execute(&mut **self).await?;
        sqlx::query(FORGET_REFUSALS).bind(forgotten_before(now)).execute(&mut **self).await?;
        sqlx::query(MARK_REFUSALS).bind(now_micros).execute(&mut **self).await?;
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut **self).await?;
        Ok(())
    }
}

async fn insert_messages(tx: &mut SqliteTransaction<'_>, sent: &[Sent], now: Timestamp) -> Result<(), sqlx::Error> {
    for (sql, some) in INSERT_MESSAGES.calls(sent) {
        let mut query = sqlx::query(sql);
        for Sent { position, message, origin, digest, .. } in some {
            query = query.bind(position.0).bind(message.conversation_id.uuid()).bind(message.seq);
            query = query.bind(message.id.uuid()).bind(message.sender_id.uuid()).bind(now.as_micros()).bind(origin);
            query = query.bind(message.reply_to_id.map(|id| id.uuid())).bind(digest.as_slice());
            query = query.bind(message.client_message_id.as_ref().map(|id| id.as_str()));
            query = query.bind(message.content.as_str()).bind(message.metadata.as_ref().map(|json| json.as_str()));
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// A JSON list of rows.
fn list<T>(rows: impl IntoIterator<Item = T>, row: impl FnMut(T) -> Value) -> String {
    Value::Array(rows.into_iter().map(row).collect()).to_string()
}

fn hex<K>(id: Id<K>) -> String {
    id.uuid().simple().to_string()
}

fn hex_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text
}
