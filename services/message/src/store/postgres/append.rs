//! The writer: one connection of its own and one transaction a batch: two round trips while nobody else writes, else five.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use messenger_core::{Bug, MessageId, Position, Result, Timestamp, is_seeded};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgConnectOptions},
};
use tokio::time::timeout;
use tracing::instrument;
use uuid::Uuid;

use super::{PostgresStore, bugs};
use crate::{
    model::{Appended, Batch, ChangeSet, ResolvedDraft},
    sequence::{AppliedChanges, ChangeFacts, DraftFacts, NumberedDrafts, Numbering, Refusal, Sent, number_drafts},
    store::{
        Store,
        append::{Failure, JournalTx, Locked, Mode, forgotten_before, positions, touched, write},
        rows::{DraftColumns, HeadColumns, MembershipColumns, StoredRow, draft_facts, head, membership, stored_ids},
    },
};

/// A writer that stops inside its transaction loses it after a second, before others give up waiting for the lock.
const WRITER: [(&str, &str); 5] = [
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "1s"),
    ("lock_timeout", "3s"),
    ("statement_timeout", "5s"),
    ("default_transaction_isolation", "read committed"),
];

/// For what the server's own time-outs cannot see: a server that is gone without a word.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// A server that ends while it is being connected to may never answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Writer {
    options: PgConnectOptions,
    /// Taken out while it is used, put back only after a commit or a rollback that was answered: a connection whose
    /// transaction ended in any other way is closed by being dropped, and the server rolls back what it had not committed.
    idle: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    /// None before the first batch.
    end: Option<End>,
}

/// The end of the journal as this session's last batch left it.
#[derive(Debug, Clone, Copy)]
struct End {
    last: Position,
    created_at: Timestamp,
    /// Nobody else wrote before that batch, so that nobody is expected to before the next one.
    is_alone: bool,
}

#[async_trait]
impl Store for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn append(&self, batch: Batch, now: Timestamp) -> Result<Appended> {
        match self.writer.attempt(&batch, now, Mode::Whole).await {
            Err(failure) if failure.is_refusal() => Ok(self.writer.attempt(&batch, now, Mode::Apart).await?),
            answer => Ok(answer?),
        }
    }
}

impl Writer {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options: options.options(WRITER), idle: Mutex::new(None) }
    }

    async fn attempt(&self, batch: &Batch, now: Timestamp, mode: Mode) -> Result<Appended, Failure> {
        timeout(ATTEMPT_LIMIT, self.write(batch, now, mode)).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn write(&self, batch: &Batch, now: Timestamp, mode: Mode) -> Result<Appended, Failure> {
        let idle = self.idle().take();
        let mut session = match idle {
            Some(session) => session,
            None => self.connect().await?,
        };
        if let (Some(end), Mode::Whole) = (session.end.filter(|end| end.is_alone), mode)
            && batch.changes.is_empty()
            && let Some((appended, end)) = unlocked(&mut session.connection, batch, end, now).await?
        {
            *self.idle() = Some(Session { end: Some(end), ..session });
            return Ok(appended);
        }
        self.locked(session, batch, now, mode).await
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let connecting = timeout(CONNECT_LIMIT, self.options.connect());
        let connection = connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(Session { connection, end: None })
    }

    async fn locked(
        &self,
        Session { mut connection, end }: Session,
        batch: &Batch,
        now: Timestamp,
        mode: Mode,
    ) -> Result<Appended, Failure> {
        let mut tx = connection.begin().await?;
        if is_seeded(Bug::RightsBeforeLock) {
            bugs::read_rights(&mut tx, batch).await?;
        }
        let locked = lock(&mut tx, positions(batch), now).await?;
        if is_seeded(Bug::PositionBeforeCommit) {
            tx.commit().await?;
            tx = connection.begin().await?;
        }
        let created_at = locked.created_at;
        // While there are refusals, drafts are looked up by more than a batch without the lock asks for. This batch may
        // record the first ones: of drafts sent before.
        let has_refusals = locked.has_refusals || batch.drafts.iter().any(|resolved| resolved.draft.resent);
        let may_be_alone = !has_refusals && !bugs::NEED_THE_LOCK.into_iter().any(is_seeded);
        let (appended, is_changed) = write(&mut *tx, batch, locked, mode).await?;
        if is_changed && batch.changes.is_empty() && is_seeded(Bug::AckBeforeCommit) {
            std::mem::forget(tx);
            bugs::commit_late(connection);
            return Ok(appended);
        }
        if is_changed {
            tx.commit().await.map_err(Failure::Commit)?;
        } else {
            // Nobody waits for the disk.
            tx.rollback().await?;
        }
        let is_alone = may_be_alone && end.is_some_and(|end| end.last == appended.previous);
        let end = End { last: appended.last, created_at, is_alone };
        *self.idle() = Some(Session { connection, end: Some(end) });
        Ok(appended)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides by what is read without the lock, and takes it with the statement that writes, which does so only if the journal
/// still ends where this session left it: every write moves that end, so nothing that was read has changed (but read
/// positions, by which nothing is decided). None when somebody else wrote, or when there is more to do than to store
/// messages; nothing is written then.
async fn unlocked(
    connection: &mut PgConnection,
    batch: &Batch,
    end: End,
    now: Timestamp,
) -> Result<Option<(Appended, End)>, Failure> {
    let facts = connection.draft_facts(&batch.drafts, false).await?;
    let created_at = end.created_at.max(now);
    let numbered = number_drafts(&batch.drafts, facts, &mut Numbering { position: end.last, created_at });
    if numbered.sent.is_empty() || !numbered.refused.is_empty() {
        return Ok(None);
    }
    let last = Position(end.last.0 + positions(batch));
    // It commits by itself, and is answered when it has.
    let write = write_drafts(connection, &numbered, created_at, Some((end.last, last)));
    let is_written = write.await.map_err(|error| match error {
        sqlx::Error::Database(_) => Failure::Statement(error),
        error => Failure::Commit(error),
    })?;
    if !is_written {
        return Ok(None);
    }
    let entries = numbered.sent.iter().map(Sent::entry).collect();
    let appended = Appended { previous: end.last, last, entries, changes: Vec::new(), drafts: numbered.outcomes };
    Ok(Some((appended, End { last, created_at, is_alone: true })))
}

/// Alone and first: in READ COMMITTED each later statement has a snapshot newer than the lock. Facts read in this very
/// statement would be those of before the wait for the lock, and messages would be stored under rights that are gone.
const LOCK: &str = "
UPDATE journal SET last_position = last_position + $1, last_created_at = GREATEST(last_created_at, $2)
WHERE id = 1 RETURNING last_position, last_created_at, refused_at";

async fn lock(tx: &mut PgConnection, positions: i64, now: Timestamp) -> Result<Locked, sqlx::Error> {
    let query = sqlx::query_as(LOCK).bind(positions).bind(now.as_micros());
    Ok(Locked::new(query.fetch_one(tx).await?))
}

const HEADS: &str = "
SELECT conversation_id, type, is_restricted, version, participant_count, last_seq, last_position, last_activity_at
FROM head WHERE conversation_id = ANY($1)";

const MEMBERSHIPS: &str = "
SELECT p.conversation_id, p.user_id, p.role, p.joined_position, p.joined_seq, p.read_seq, p.read_at
FROM unnest($1::uuid[], $2::uuid[]) AS u (conversation_id, user_id)
JOIN membership p ON p.conversation_id = u.conversation_id AND p.user_id = u.user_id";

const WRITE_CHANGES: &str = "
WITH changed AS (
    INSERT INTO change (position, conversation_id, version, body)
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bytea[])
), departed AS (
    INSERT INTO departure (user_id, position, conversation_id, joined_position)
    SELECT * FROM unnest($5::uuid[], $6::bigint[], $7::uuid[], $8::bigint[])
), paired AS (
    INSERT INTO p2p (user_low, user_high, conversation_id)
    SELECT * FROM unnest($9::uuid[], $10::uuid[], $11::uuid[])
)
DELETE FROM membership p USING unnest($12::uuid[], $13::uuid[]) AS u (conversation_id, user_id)
WHERE p.conversation_id = u.conversation_id AND p.user_id = u.user_id";

const WRITE_RIGHTS: &str = "
WITH heads AS (
    INSERT INTO head (conversation_id, type, is_restricted, version, participant_count, last_seq, last_position,
                      last_activity_at)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::boolean[], $4::bigint[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::bigint[])
    ON CONFLICT (conversation_id) DO UPDATE SET
        is_restricted = excluded.is_restricted, version = excluded.version,
        participant_count = excluded.participant_count, last_position = excluded.last_position
)
INSERT INTO membership (conversation_id, user_id, role, joined_position, joined_seq, read_seq, read_at)
SELECT * FROM unnest($9::uuid[], $10::uuid[], $11::smallint[], $12::bigint[], $13::bigint[], $14::bigint[],
                     $15::bigint[])
ON CONFLICT (conversation_id, user_id) DO UPDATE SET
    role = excluded.role, joined_position = excluded.joined_position, joined_seq = excluded.joined_seq,
    read_seq = GREATEST(membership.read_seq, excluded.read_seq)";

/// The message stored before is found by the sender's own key, else by message id where one is given; so is a refusal.
const DRAFT_FACTS: &str = "
SELECT h.type, h.is_restricted, h.last_seq, p.role, COALESCE(k.id, i.id), r.reason, a.conversation_id
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[]) WITH ORDINALITY
     AS d (conversation_id, sender_id, client_message_id, message_id, reply_to_id, n)
LEFT JOIN head h ON h.conversation_id = d.conversation_id
LEFT JOIN membership p ON p.conversation_id = d.conversation_id AND p.user_id = d.sender_id
LEFT JOIN message k ON k.sender_id = d.sender_id AND k.client_message_id = d.client_message_id
LEFT JOIN message i ON i.id = d.message_id
LEFT JOIN refusal r ON r.message_id = d.message_id
LEFT JOIN message a ON a.id = d.reply_to_id
ORDER BY d.n";

const STORED: &str = "
SELECT conversation_id, digest, id, seq, sender_id, content, created_at, client_message_id, reply_to_id, metadata
FROM message WHERE id = ANY($1)";

/// Writes if the journal ends at $19, and moves its end to $20. Both are null when the lock is held and positions are
/// reserved.
const WRITE_DRAFTS: &str = "
WITH ended AS (
    UPDATE journal SET last_position = COALESCE($20, last_position), last_created_at = $18
    WHERE id = 1 AND last_position = COALESCE($19, last_position) RETURNING id
), sent AS (
    INSERT INTO message (conversation_id, position, seq, id, sender_id, origin, reply_to_id, digest, client_message_id,
                         content, metadata, created_at)
    SELECT u.*, $18::bigint FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::bigint[],
                                $7::uuid[], $8::bytea[], $9::text[], $10::text[], $11::text[]) AS u, ended
), moved AS (
    UPDATE head h SET last_seq = u.seq, last_position = u.position, last_activity_at = $18
    FROM unnest($12::uuid[], $13::bigint[], $14::bigint[]) AS u (conversation_id, seq, position), ended
    WHERE h.conversation_id = u.conversation_id
), read AS (
    UPDATE membership p SET read_seq = u.seq, read_at = $18
    FROM unnest($15::uuid[], $16::uuid[], $17::bigint[]) AS u (conversation_id, user_id, seq), ended
    WHERE p.conversation_id = u.conversation_id AND p.user_id = u.user_id
)
SELECT count(*) = 1 FROM ended";

const WRITE_REFUSALS: &str = "
WITH refused AS (
    INSERT INTO refusal (message_id, reason, refused_at)
    SELECT u.*, $3 FROM unnest($1::uuid[], $2::smallint[]) AS u ON CONFLICT (message_id) DO NOTHING
), forgotten AS (
    DELETE FROM refusal WHERE refused_at < $4
)
UPDATE journal SET refused_at = $3 WHERE id = 1";

#[async_trait]
impl JournalTx for PgConnection {
    async fn change_facts(&mut self, sets: &[ChangeSet]) -> Result<ChangeFacts, sqlx::Error> {
        let mut facts = ChangeFacts::default();
        let heads: Vec<Uuid> = sets.iter().filter_map(|set| Some(set.0.first()?.conversation_id.uuid())).collect();
        let rows: Vec<HeadColumns> = sqlx::query_as(HEADS).bind(heads).fetch_all(&mut *self).await?;
        for row in rows {
            let (id, head) = head(row)?;
            facts.heads.insert(id, head);
        }
        let (conversations, users) = touched(sets);
        let query = sqlx::query_as(MEMBERSHIPS).bind(conversations).bind(users);
        let rows: Vec<MembershipColumns> = query.fetch_all(&mut *self).await?;
        for row in rows {
            let (key, membership) = membership(row)?;
            facts.memberships.insert(key, membership);
        }
        Ok(facts)
    }

    async fn write_changes(&mut self, changes: &AppliedChanges) -> Result<(), sqlx::Error> {
        changes_query(changes).execute(&mut *self).await?;
        rights_query(changes).execute(&mut *self).await?;
        Ok(())
    }

    async fn draft_facts(&mut self, drafts: &[ResolvedDraft], by_id: bool) -> Result<Vec<DraftFacts>, sqlx::Error> {
        let looked_up = |row: &ResolvedDraft| (by_id || row.draft.resent).then_some(row.draft.message_id.uuid());
        let query = sqlx::query_as(DRAFT_FACTS)
            .bind(column(drafts, |row| row.conversation_id.uuid()))
            .bind(column(drafts, |row| row.draft.sender_id.uuid()))
            .bind(column(drafts, |row| row.draft.client_message_id.as_ref().map(|id| id.as_str())))
            .bind(column(drafts, looked_up))
            .bind(column(drafts, |row| row.draft.reply_to_id.map(|id| id.uuid())));
        let rows: Vec<DraftColumns> = query.fetch_all(&mut *self).await?;
        let ids = stored_ids(&rows);
        let stored: Vec<StoredRow> = match ids.is_empty() {
            true => Vec::new(),
            false => sqlx::query_as(STORED).bind(ids).fetch_all(&mut *self).await?,
        };
        let facts = draft_facts(rows, stored)?;
        Ok(if is_seeded(Bug::RightsBeforeLock) { bugs::with_early_rights(facts) } else { facts })
    }

    async fn write_drafts(&mut self, drafts: &NumberedDrafts, now: Timestamp) -> Result<(), sqlx::Error> {
        if write_drafts(self, drafts, now, None).await? { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
    }

    async fn write_refusals(&mut self, refused: &[(MessageId, Refusal)], now: Timestamp) -> Result<(), sqlx::Error> {
        let query = sqlx::query(WRITE_REFUSALS)
            .bind(column(refused, |(id, _)| id.uuid()))
            .bind(column(refused, |(_, refusal)| refusal.code()))
            .bind(now.as_micros())
            .bind(forgotten_before(now));
        query.execute(&mut *self).await?;
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut *self).await?;
        Ok(())
    }
}

/// Moves the journal's end from the one position to the other, if told; false when it was elsewhere and nothing is written.
async fn write_drafts(
    connection: &mut PgConnection,
    drafts: &NumberedDrafts,
    now: Timestamp,
    moves: Option<(Position, Position)>,
) -> Result<bool, sqlx::Error> {
    let query =
        drafts_query(drafts).bind(now.as_micros()).bind(moves.map(|(from, _)| from.0)).bind(moves.map(|(_, to)| to.0));
    query.fetch_one(connection).await?.try_get(0)
}

fn column<'a, T, C>(rows: &'a [T], value: impl FnMut(&'a T) -> C) -> Vec<C> {
    rows.iter().map(value).collect()
}

type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

fn changes_query(changes: &AppliedChanges) -> Statement {
    let AppliedChanges { changed, departures, pairs, left, .. } = changes;
    sqlx::query(WRITE_CHANGES)
        .bind(column(changed, |row| row.position.0))
        .bind(column(changed, |row| row.conversation_id.uuid()))
        .bind(column(changed, |row| row.version))
        .bind(column(changed, |row| row.body.to_vec()))
        .bind(column(departures, |row| row.user_id.uuid()))
        .bind(column(departures, |row| row.position.0))
        .bind(column(departures, |row| row.conversation_id.uuid()))
        .bind(column(departures, |row| row.joined_position.0))
        .bind(column(pairs, |row| row.0.uuid()))
        .bind(column(pairs, |row| row.1.uuid()))
        .bind(column(pairs, |row| row.2.uuid()))
        .bind(column(left, |row| row.0.uuid()))
        .bind(column(left, |row| row.1.uuid()))
}

fn rights_query(changes: &AppliedChanges) -> Statement {
    let AppliedChanges { heads, memberships, .. } = changes;
    sqlx::query(WRITE_RIGHTS)
        .bind(column(heads, |(id, _)| id.uuid()))
        .bind(column(heads, |(_, head)| head.conversation_type.code()))
        .bind(column(heads, |(_, head)| head.is_restricted))
        .bind(column(heads, |(_, head)| head.version))
        .bind(column(heads, |(_, head)| head.participant_count))
        .bind(column(heads, |(_, head)| head.last_seq))
        .bind(column(heads, |(_, head)| head.last_position.0))
        .bind(column(heads, |(_, head)| head.last_activity_at.as_micros()))
        .bind(column(memberships, |row| row.0.uuid()))
        .bind(column(memberships, |row| row.1.uuid()))
        .bind(column(memberships, |row| row.2.role.code()))
        .bind(column(memberships, |row| row.2.joined_position.0))
        .bind(column(memberships, |row| row.2.joined_seq))
        .bind(column(memberships, |row| row.2.read_seq))
        .bind(column(memberships, |row| row.2.read_at.map(Timestamp::as_micros)))
}

fn drafts_query(drafts: &NumberedDrafts) -> Statement {
    let NumberedDrafts { sent, heads, reads, .. } = drafts;
    sqlx::query(WRITE_DRAFTS)
        .bind(column(sent, |row| row.message.conversation_id.uuid()))
        .bind(column(sent, |row| row.position.0))
        .bind(column(sent, |row| row.message.seq))
        .bind(column(sent, |row| row.message.id.uuid()))
        .bind(column(sent, |row| row.message.sender_id.uuid()))
        .bind(column(sent, |row| row.origin))
        .bind(column(sent, |row| row.message.reply_to_id.map(MessageId::uuid)))
        .bind(column(sent, |row| row.digest.to_vec()))
        .bind(column(sent, |row| row.message.client_message_id.as_ref().map(|id| id.as_str())))
        .bind(column(sent, |row| row.message.content.as_str()))
        .bind(column(sent, |row| row.message.metadata.as_ref().map(|metadata| metadata.as_str())))
        .bind(heads.keys().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(heads.values().map(|(seq, _)| *seq).collect::<Vec<_>>())
        .bind(heads.values().map(|(_, position)| position.0).collect::<Vec<_>>())
        .bind(reads.keys().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
        .bind(reads.keys().map(|(_, user)| user.uuid()).collect::<Vec<_>>())
        .bind(reads.values().copied().collect::<Vec<_>>())
}
