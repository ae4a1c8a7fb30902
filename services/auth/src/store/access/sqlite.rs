//! Who is kept out, and what is over, on SQLite.

use async_trait::async_trait;
use messenger_core::{Error, Result, SessionId, Timestamp, UserId};
use messenger_db::{error, run};
use messenger_identity::Revocation;
use sqlx::{SqliteConnection, query, query_as, query_scalar};
use tracing::instrument;

use super::{AccessStore, END_SESSIONS, PURGED_MAX, RevocationRow, TOKEN_NOT_ENDED, revocation, revoked};
use crate::store::SqliteStore;

#[async_trait]
impl AccessStore for SqliteStore {
    #[instrument(level = "debug", skip_all)]
    async fn deactivate(&self, id: UserId, now: Timestamp) -> Result<()> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let number = next_revocation(&mut tx).await?;
            let found = query("UPDATE account SET deactivated_at = COALESCE(deactivated_at, $2) WHERE id = $1")
                .bind(id.uuid())
                .bind(now.as_micros())
                .execute(&mut *tx)
                .await
                .map_err(error)?;
            if found.rows_affected() == 0 {
                tx.rollback().await.map_err(error)?;
                return Err(Error::not_found("no such user"));
            }
            end_all(&mut tx, (id, None), number, now).await?;
            tx.commit().await.map_err(error)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn reactivate(&self, id: UserId) -> Result<()> {
        let found = query("UPDATE account SET deactivated_at = NULL WHERE id = $1")
            .bind(id.uuid())
            .execute(&self.pools.writer)
            .await
            .map_err(error)?;
        if found.rows_affected() == 0 { Err(Error::not_found("no such user")) } else { Ok(()) }
    }

    #[instrument(level = "debug", skip_all)]
    async fn revocation_head(&self) -> Result<i64> {
        query_scalar("SELECT last_number FROM revocation_head").fetch_one(&self.pools.reader).await.map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn revocations(&self, after_number: i64, now: Timestamp, rows_max: i64) -> Result<Vec<Revocation>> {
        let rows: Vec<RevocationRow> = query_as(
            "SELECT number, user_id, session_id, except_session_id, revoked_at, until FROM revocation \
             WHERE number > $1 AND COALESCE(until, revoked_at + 1200000000) >= $2 ORDER BY number LIMIT $3",
        )
        .bind(after_number)
        .bind(now.as_micros())
        .bind(rows_max)
        .fetch_all(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(revocation).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn purge(&self, now: Timestamp) -> Result<bool> {
        let purged = query(
            "DELETE FROM session WHERE id IN ( \
                 SELECT id FROM session WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
        )
        .bind(now.as_micros())
        .bind(PURGED_MAX)
        .execute(&self.pools.writer)
        .await
        .map_err(error)?;
        query("DELETE FROM revocation WHERE COALESCE(until, revoked_at + 1200000000) < $1")
            .bind(now.as_micros())
            .execute(&self.pools.writer)
            .await
            .map_err(error)?;
        Ok(purged.rows_affected() == PURGED_MAX as u64)
    }
}

/// Numbers rise in commit order, as there is one writer.
pub(in crate::store) async fn next_revocation(tx: &mut SqliteConnection) -> Result<i64> {
    query_scalar("UPDATE revocation_head SET last_number = last_number + 1 RETURNING last_number")
        .fetch_one(tx)
        .await
        .map_err(error)
}

/// Ends a user's sessions but one, and every token of another identity system it came with, unless that was done since the
/// newest came. The revocation is later than each token seen, whatever the clocks say.
pub(in crate::store) async fn end_all(
    tx: &mut SqliteConnection,
    (user_id, except_session_id): (UserId, Option<SessionId>),
    number: i64,
    now: Timestamp,
) -> Result<()> {
    let used_at: Vec<i64> = query_scalar(END_SESSIONS)
        .bind(user_id.uuid())
        .bind(except_session_id.map(SessionId::uuid))
        .bind(now.as_micros())
        .fetch_all(&mut *tx)
        .await
        .map_err(error)?;
    let token_at: Option<i64> =
        query_scalar(TOKEN_NOT_ENDED).bind(user_id.uuid()).fetch_optional(&mut *tx).await.map_err(error)?;
    let Some(revoked) = revoked(used_at.into_iter().max(), token_at, now) else { return Ok(()) };
    let (revoked_at, until) = revoked;
    let revocation = Revocation { number, user_id, session_id: None, except_session_id, revoked_at, until };
    insert_revocation(tx, &revocation).await
}

pub(in crate::store) async fn insert_revocation(tx: &mut SqliteConnection, revocation: &Revocation) -> Result<()> {
    query(
        "INSERT INTO revocation (number, user_id, session_id, except_session_id, revoked_at, until) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(revocation.number)
    .bind(revocation.user_id.uuid())
    .bind(revocation.session_id.map(SessionId::uuid))
    .bind(revocation.except_session_id.map(SessionId::uuid))
    .bind(revocation.revoked_at.as_micros())
    .bind(revocation.until.as_micros())
    .execute(tx)
    .await
    .map_err(error)?;
    Ok(())
}
