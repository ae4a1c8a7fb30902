//! Sessions, and the refresh tokens they go on by.

use messenger_core::{Error, Result, SessionId, Timestamp, UserId};
use messenger_db::{Database, Sql, Statement, run};
use messenger_identity::Revocation;
use tracing::instrument;
use uuid::Uuid;

use super::{
    Store,
    access::{end_all, insert_revocation, next_revocation},
};
use crate::model::{Digest, NewSession, RefreshState, Rotation, Session};

impl Store {
    /// A further session, unless the password has been changed since this hash was verified, or the user deactivated
    /// (false).
    #[instrument(level = "debug", skip_all)]
    pub async fn begin_session(&self, session: NewSession, password_hash: &str) -> Result<bool> {
        let (database, password_hash) = (self.database.clone(), password_hash.to_owned());
        run(async move { insert_session(database.write(INSERT_SESSION), &session, &password_hash).await }).await
    }

    /// Whether a session of this user began at this place.
    #[instrument(level = "debug", skip_all)]
    pub async fn knows_place(&self, user_id: UserId, place: &Digest) -> Result<bool> {
        let (is_known,) = self
            .database
            .read("SELECT EXISTS (SELECT 1 FROM session WHERE user_id = $1 AND place = $2)")
            .bind(user_id.uuid())
            .bind(place.as_slice())
            .fetch_one()
            .await?;
        Ok(is_known)
    }

    /// What a refresh token of this generation is judged by.
    #[instrument(level = "debug", skip_all)]
    pub async fn refresh_state(&self, id: SessionId, generation: i64) -> Result<Option<RefreshState>> {
        let row: Option<RefreshRow> = self
            .database
            .read(
                "SELECT s.user_id, s.generation, s.token_digest, u.used_at, s.expires_at, s.ended_at IS NOT NULL \
                 FROM session s LEFT JOIN refresh_use u ON u.session_id = s.id AND u.generation = $2 WHERE s.id = $1",
            )
            .bind(id.uuid())
            .bind(generation)
            .fetch_optional()
            .await?;
        row.map(refresh_state).transpose()
    }

    /// Takes one step of a session's chain; false if the session is over or another took it.
    #[instrument(level = "debug", skip_all)]
    pub async fn rotate(&self, rotation: Rotation) -> Result<bool> {
        let database = self.database.clone();
        run(async move {
            match &database {
                Database::Postgres(_) => rotate_on_postgres(&database, &rotation).await,
                Database::Sqlite(_) => rotate_on_sqlite(&database, &rotation).await,
            }
        })
        .await
    }

    /// The user's live sessions, the last used first.
    #[instrument(level = "debug", skip_all)]
    pub async fn sessions(&self, user_id: UserId, now: Timestamp, rows_max: i64) -> Result<Vec<Session>> {
        let rows: Vec<SessionRow> = self
            .database
            .read(
                "SELECT id, created_at, last_used_at, user_agent FROM session \
                 WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY last_used_at DESC LIMIT $3",
            )
            .bind(user_id.uuid())
            .bind(now.as_micros())
            .bind(rows_max)
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(session).collect())
    }

    /// Ends one session of a user; false if there is no such live one.
    #[instrument(level = "debug", skip_all)]
    pub async fn end_session(&self, user_id: UserId, id: SessionId, now: Timestamp) -> Result<bool> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let number = next_revocation(&mut tx).await?;
            let ended = tx
                .statement(
                    "UPDATE session SET ended_at = $3 \
                     WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
                )
                .bind(id.uuid())
                .bind(user_id.uuid())
                .bind(now.as_micros())
                .execute()
                .await?;
            if ended == 0 {
                tx.rollback().await?;
                return Ok(false);
            }
            let (session_id, except_session_id) = (Some(id), None);
            let until = Revocation::own_until(now);
            let revocation = Revocation { number, user_id, session_id, except_session_id, revoked_at: now, until };
            insert_revocation(&mut tx, &revocation).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Ends every session of a user.
    #[instrument(level = "debug", skip_all)]
    pub async fn end_sessions(&self, user_id: UserId, now: Timestamp) -> Result<()> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let number = next_revocation(&mut tx).await?;
            end_all(&mut tx, (user_id, None), number, now).await?;
            tx.commit().await
        })
        .await
    }
}

/// FOR SHARE waits for a change of the password that is under way, and one that comes later waits for this.
pub(super) const INSERT_SESSION: Sql = Sql {
    postgres: "INSERT INTO session \
                   (id, user_id, user_agent, created_at, last_used_at, expires_at, generation, token_digest, place) \
               SELECT $1, id, $3, $4, $4, $5, 0, $6, $8 FROM account \
               WHERE id = $2 AND password_hash = $7 AND deactivated_at IS NULL FOR SHARE",
    sqlite: "INSERT INTO session \
                 (id, user_id, user_agent, created_at, last_used_at, expires_at, generation, token_digest, place) \
             SELECT $1, id, $3, $4, $4, $5, 0, $6, $8 FROM account \
             WHERE id = $2 AND password_hash = $7 AND deactivated_at IS NULL",
};

/// [`INSERT_SESSION`], on its own or in a transaction.
pub(super) async fn insert_session(
    statement: Statement<'_>,
    session: &NewSession,
    password_hash: &str,
) -> Result<bool> {
    let inserted = statement
        .bind(session.id.uuid())
        .bind(session.user_id.uuid())
        .bind(&session.user_agent)
        .bind(session.created_at.as_micros())
        .bind(session.expires_at.as_micros())
        .bind(session.token_digest.as_slice())
        .bind(password_hash)
        .bind(session.place.as_ref().map(Digest::as_slice))
        .execute()
        .await?;
    Ok(inserted == 1)
}

/// In one round trip.
async fn rotate_on_postgres(database: &Database, rotation: &Rotation) -> Result<bool> {
    let used = database
        .write(
            "WITH rotated AS ( \
                 UPDATE session SET token_digest = $4, generation = $2 + 1, \
                                    last_used_at = GREATEST(last_used_at, $5), expires_at = $6 \
                 WHERE id = $1 AND token_digest = $3 AND ended_at IS NULL RETURNING id), \
             forgotten AS (DELETE FROM refresh_use WHERE session_id = $1 AND used_at < $7) \
             INSERT INTO refresh_use (session_id, generation, used_at) SELECT id, $2, $5 FROM rotated",
        )
        .bind(rotation.session_id.uuid())
        .bind(rotation.generation)
        .bind(rotation.from.as_slice())
        .bind(rotation.to.as_slice())
        .bind(rotation.used_at.as_micros())
        .bind(rotation.expires_at.as_micros())
        .bind(rotation.forget_before.as_micros())
        .execute()
        .await?;
    Ok(used == 1)
}

/// No statement of SQLite writes into two tables.
async fn rotate_on_sqlite(database: &Database, rotation: &Rotation) -> Result<bool> {
    let mut tx = database.begin().await?;
    let rotated = tx
        .statement(
            "UPDATE session SET token_digest = $4, generation = $2 + 1, \
                                last_used_at = MAX(last_used_at, $5), expires_at = $6 \
             WHERE id = $1 AND token_digest = $3 AND ended_at IS NULL",
        )
        .bind(rotation.session_id.uuid())
        .bind(rotation.generation)
        .bind(rotation.from.as_slice())
        .bind(rotation.to.as_slice())
        .bind(rotation.used_at.as_micros())
        .bind(rotation.expires_at.as_micros())
        .execute()
        .await?;
    if rotated == 0 {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.statement("DELETE FROM refresh_use WHERE session_id = $1 AND used_at < $2")
        .bind(rotation.session_id.uuid())
        .bind(rotation.forget_before.as_micros())
        .execute()
        .await?;
    tx.statement("INSERT INTO refresh_use (session_id, generation, used_at) VALUES ($1, $2, $3)")
        .bind(rotation.session_id.uuid())
        .bind(rotation.generation)
        .bind(rotation.used_at.as_micros())
        .execute()
        .await?;
    tx.commit().await?;
    Ok(true)
}

type RefreshRow = (Uuid, i64, Vec<u8>, Option<i64>, i64, bool);
type SessionRow = (Uuid, i64, i64, String);

fn refresh_state(row: RefreshRow) -> Result<RefreshState> {
    let (user_id, generation, digest, used_at, expires_at, is_ended) = row;
    Ok(RefreshState {
        user_id: UserId::from_uuid(user_id),
        generation,
        token_digest: digest.try_into().map_err(|_| Error::internal("stored digest of odd length"))?,
        used_at: used_at.map(Timestamp::from_micros),
        expires_at: Timestamp::from_micros(expires_at),
        is_ended,
    })
}

fn session((id, created_at, last_used_at, user_agent): SessionRow) -> Session {
    Session {
        id: SessionId::from_uuid(id),
        created_at: Timestamp::from_micros(created_at),
        last_used_at: Timestamp::from_micros(last_used_at),
        user_agent,
    }
}
