//! Who is kept out, and what is over.

use messenger_core::{Error, Result, SessionId, Timestamp, UserId};
use messenger_db::{Transaction, run};
use messenger_identity::Revocation;
use tracing::instrument;
use uuid::Uuid;

use super::Store;

/// Sessions removed by one statement.
const PURGED_MAX: i64 = 1_000;

impl Store {
    /// Ends every session of a user and lets none begin. Errors: NOT_FOUND.
    #[instrument(level = "debug", skip_all)]
    pub async fn deactivate(&self, id: UserId, now: Timestamp) -> Result<()> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let number = next_revocation(&mut tx).await?;
            let found = tx
                .statement("UPDATE account SET deactivated_at = COALESCE(deactivated_at, $2) WHERE id = $1")
                .bind(id.uuid())
                .bind(now.as_micros())
                .execute()
                .await?;
            if found == 0 {
                tx.rollback().await?;
                return Err(Error::not_found("no such user"));
            }
            end_all(&mut tx, (id, None), number, now).await?;
            tx.commit().await
        })
        .await
    }

    /// Lets sessions begin again. Errors: NOT_FOUND.
    #[instrument(level = "debug", skip_all)]
    pub async fn reactivate(&self, id: UserId) -> Result<()> {
        let found = self
            .database
            .write("UPDATE account SET deactivated_at = NULL WHERE id = $1")
            .bind(id.uuid())
            .execute()
            .await?;
        if found == 0 { Err(Error::not_found("no such user")) } else { Ok(()) }
    }

    /// The number of the newest revocation, 0 before the first.
    #[instrument(level = "debug", skip_all)]
    pub async fn revocation_head(&self) -> Result<i64> {
        let (number,) = self.database.read("SELECT last_number FROM revocation_head").fetch_one().await?;
        Ok(number)
    }

    /// Revocations above a number that still matter, in order.
    #[instrument(level = "debug", skip_all)]
    pub async fn revocations(&self, after_number: i64, now: Timestamp, rows_max: i64) -> Result<Vec<Revocation>> {
        let rows: Vec<RevocationRow> = self
            .database
            .read(
                "SELECT number, user_id, session_id, except_session_id, revoked_at, until FROM revocation \
                 WHERE number > $1 AND COALESCE(until, revoked_at + 1200000000) >= $2 ORDER BY number LIMIT $3",
            )
            .bind(after_number)
            .bind(now.as_micros())
            .bind(rows_max)
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(revocation).collect())
    }

    /// Removes revocations that nobody asks for any more, and 1,000 sessions that expired: true when there may be more.
    #[instrument(level = "debug", skip_all)]
    pub async fn purge(&self, now: Timestamp) -> Result<bool> {
        let purged = self
            .database
            .write(
                "DELETE FROM session WHERE id IN ( \
                     SELECT id FROM session WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            )
            .bind(now.as_micros())
            .bind(PURGED_MAX)
            .execute()
            .await?;
        self.database
            .write("DELETE FROM revocation WHERE COALESCE(until, revoked_at + 1200000000) < $1")
            .bind(now.as_micros())
            .execute()
            .await?;
        Ok(purged == PURGED_MAX as u64)
    }
}

type RevocationRow = (i64, Uuid, Option<Uuid>, Option<Uuid>, i64, Option<i64>);

fn revocation((number, user_id, session_id, except_session_id, revoked_at, until): RevocationRow) -> Revocation {
    let revoked_at = Timestamp::from_micros(revoked_at);
    Revocation {
        number,
        user_id: UserId::from_uuid(user_id),
        session_id: session_id.map(SessionId::from_uuid),
        except_session_id: except_session_id.map(SessionId::from_uuid),
        revoked_at,
        until: until.map_or_else(|| Revocation::own_until(revoked_at), Timestamp::from_micros),
    }
}

/// Takes the lock under which numbers rise in commit order: the first statement of its transaction.
pub(super) async fn next_revocation(tx: &mut Transaction) -> Result<i64> {
    let (number,) = tx
        .statement("UPDATE revocation_head SET last_number = last_number + 1 RETURNING last_number")
        .fetch_one()
        .await?;
    Ok(number)
}

/// Ends a user's sessions but one, and every token of another identity system it came with, unless that was done since the
/// newest came. The revocation is later than each token seen, whatever the clocks say.
pub(super) async fn end_all(
    tx: &mut Transaction,
    (user_id, except_session_id): (UserId, Option<SessionId>),
    number: i64,
    now: Timestamp,
) -> Result<()> {
    let used_at: Vec<(i64,)> = tx
        .statement(
            "UPDATE session SET ended_at = $3 \
             WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND ended_at IS NULL RETURNING last_used_at",
        )
        .bind(user_id.uuid())
        .bind(except_session_id.map(SessionId::uuid))
        .bind(now.as_micros())
        .fetch_all()
        .await?;
    let token_at: Option<(i64,)> = tx
        .statement(
            "SELECT a.token_at FROM account a \
             WHERE a.id = $1 AND a.issuer IS NOT NULL AND NOT EXISTS ( \
                 SELECT 1 FROM revocation r \
                 WHERE r.user_id = a.id AND r.session_id IS NULL AND r.revoked_at > a.token_at)",
        )
        .bind(user_id.uuid())
        .fetch_optional()
        .await?;
    let Some((last,)) = used_at.into_iter().max().max(token_at) else { return Ok(()) };
    let revoked_at = now.max(Timestamp::from_micros(last + 1));
    let until = if token_at.is_some() { Revocation::foreign_until } else { Revocation::own_until };
    let (session_id, until) = (None, until(revoked_at));
    let revocation = Revocation { number, user_id, session_id, except_session_id, revoked_at, until };
    insert_revocation(tx, &revocation).await
}

pub(super) async fn insert_revocation(tx: &mut Transaction, revocation: &Revocation) -> Result<()> {
    tx.statement(
        "INSERT INTO revocation (number, user_id, session_id, except_session_id, revoked_at, until) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(revocation.number)
    .bind(revocation.user_id.uuid())
    .bind(revocation.session_id.map(SessionId::uuid))
    .bind(revocation.except_session_id.map(SessionId::uuid))
    .bind(revocation.revoked_at.as_micros())
    .bind(revocation.until.as_micros())
    .execute()
    .await?;
    Ok(())
}
