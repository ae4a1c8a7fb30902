//! SQLite, file `auth.db`: one writer, so a transaction has the store for itself.

use async_trait::async_trait;
use messenger_core::{Error, ErrorKind, Result, SessionId, Timestamp, UserId};
use messenger_db::{SqlitePools, error, run, violates};
use messenger_identity::Revocation;
use sqlx::{SqliteConnection, query, query_as, query_scalar};
use tracing::instrument;

use super::{
    AccountRow, RefreshRow, SessionRow, Store, UserRow,
    access::sqlite::{end_all, insert_revocation, next_revocation},
    account, refresh_state, session, user,
};
use crate::{
    model::{Account, Digest, Email, NewSession, PasswordChange, ProfileChange, RefreshState, Rotation, Session, User},
    search::WordRange,
};

/// The store on SQLite.
#[derive(Debug, Clone)]
pub(super) struct SqliteStore {
    pub(super) pools: SqlitePools,
}

#[async_trait]
impl Store for SqliteStore {
    #[instrument(level = "debug", skip_all)]
    async fn register(&self, account: Account, words: Vec<String>, session: NewSession) -> Result<()> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            insert_account(&mut tx, &account).await?;
            insert_words(&mut tx, account.user.id, &words).await?;
            insert_session(&mut tx, &session, &account.password_hash).await?;
            tx.commit().await.map_err(error)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn account_by_email(&self, email: &Email) -> Result<Option<Account>> {
        let row: Option<AccountRow> = query_as(
            "SELECT id, email, full_name, designation, created_at, password_hash FROM account \
             WHERE email = $1 AND issuer IS NULL",
        )
        .bind(email.as_str())
        .fetch_optional(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(row.map(account))
    }

    #[instrument(level = "debug", skip_all)]
    async fn account(&self, id: UserId) -> Result<Option<Account>> {
        let row: Option<AccountRow> = query_as(
            "SELECT id, email, full_name, designation, created_at, password_hash FROM account \
                      WHERE id = $1 AND issuer IS NULL",
        )
        .bind(id.uuid())
        .fetch_optional(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(row.map(account))
    }

    #[instrument(level = "debug", skip_all)]
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let ids: Vec<String> = ids.iter().map(|id| id.uuid().simple().to_string()).collect();
        let rows: Vec<UserRow> = query_as(
            "SELECT id, email, full_name, designation, created_at FROM account \
             WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        )
        .bind(json(&ids))
        .fetch_all(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(user).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn users_by_email(&self, email: &Email, rows_max: i64) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = query_as(
            "SELECT id, email, full_name, designation, created_at FROM account WHERE email = $1 ORDER BY id LIMIT $2",
        )
        .bind(email.as_str())
        .bind(rows_max)
        .fetch_all(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(user).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn lowest_word(&self, id: UserId, range: &WordRange) -> Result<Option<String>> {
        query_scalar(
            "SELECT word FROM user_search WHERE user_id = $1 AND word >= $2 AND word < $3 ORDER BY word LIMIT 1",
        )
        .bind(id.uuid())
        .bind(&range.from)
        .bind(&range.below)
        .fetch_optional(&self.pools.reader)
        .await
        .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn search(&self, range: &WordRange, after: (&str, UserId), rows_max: i64) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = query_as(
            "SELECT a.id, a.email, a.full_name, a.designation, a.created_at \
             FROM user_search s JOIN account a ON a.id = s.user_id \
             WHERE s.word < $2 AND (s.word, s.user_id) > ($3, $4) AND NOT EXISTS ( \
                 SELECT 1 FROM user_search l WHERE l.user_id = s.user_id AND l.word >= $1 AND l.word < s.word) \
             ORDER BY s.word, s.user_id LIMIT $5",
        )
        .bind(&range.from)
        .bind(&range.below)
        .bind(after.0)
        .bind(after.1.uuid())
        .bind(rows_max)
        .fetch_all(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(user).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn update_profile(&self, id: UserId, change: ProfileChange) -> Result<User> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let (full_name, words) = change.full_name.unzip();
            let row: Option<UserRow> = query_as(
                "UPDATE account SET full_name = COALESCE($2, full_name), designation = COALESCE($3, designation) \
                 WHERE id = $1 RETURNING id, email, full_name, designation, created_at",
            )
            .bind(id.uuid())
            .bind(full_name)
            .bind(change.designation)
            .fetch_optional(&mut *tx)
            .await
            .map_err(error)?;
            if let Some(words) = words.filter(|_| row.is_some()) {
                replace_words(&mut tx, id, &words).await?;
            }
            tx.commit().await.map_err(error)?;
            row.map(user).ok_or_else(|| Error::not_found("no such user"))
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn change_password(&self, change: PasswordChange, now: Timestamp) -> Result<bool> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let number = next_revocation(&mut tx).await?;
            let changed = query("UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
                .bind(change.user_id.uuid())
                .bind(change.from)
                .bind(change.to)
                .execute(&mut *tx)
                .await
                .map_err(error)?;
            if changed.rows_affected() == 0 {
                tx.rollback().await.map_err(error)?;
                return Ok(false);
            }
            end_all(&mut tx, (change.user_id, Some(change.keep)), number, now).await?;
            tx.commit().await.map_err(error)?;
            Ok(true)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn begin_session(&self, session: NewSession, password_hash: &str) -> Result<bool> {
        let (writer, password_hash) = (self.pools.writer.clone(), password_hash.to_owned());
        run(async move {
            let mut connection = writer.acquire().await.map_err(error)?;
            insert_session(&mut connection, &session, &password_hash).await
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn knows_place(&self, user_id: UserId, place: &Digest) -> Result<bool> {
        query_scalar("SELECT EXISTS (SELECT 1 FROM session WHERE user_id = $1 AND place = $2)")
            .bind(user_id.uuid())
            .bind(place.as_slice())
            .fetch_one(&self.pools.reader)
            .await
            .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn refresh_state(&self, id: SessionId, generation: i64) -> Result<Option<RefreshState>> {
        let row: Option<RefreshRow> = query_as(
            "SELECT s.user_id, s.generation, s.token_digest, u.used_at, s.expires_at, s.ended_at IS NOT NULL \
             FROM session s LEFT JOIN refresh_use u ON u.session_id = s.id AND u.generation = $2 WHERE s.id = $1",
        )
        .bind(id.uuid())
        .bind(generation)
        .fetch_optional(&self.pools.reader)
        .await
        .map_err(error)?;
        row.map(refresh_state).transpose()
    }

    #[instrument(level = "debug", skip_all)]
    async fn rotate(&self, rotation: Rotation) -> Result<bool> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let rotated = query(
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
            .execute(&mut *tx)
            .await
            .map_err(error)?;
            if rotated.rows_affected() == 0 {
                tx.rollback().await.map_err(error)?;
                return Ok(false);
            }
            insert_use(&mut tx, &rotation).await?;
            tx.commit().await.map_err(error)?;
            Ok(true)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn sessions(&self, user_id: UserId, now: Timestamp, rows_max: i64) -> Result<Vec<Session>> {
        let rows: Vec<SessionRow> = query_as(
            "SELECT id, created_at, last_used_at, user_agent FROM session \
             WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ORDER BY last_used_at DESC LIMIT $3",
        )
        .bind(user_id.uuid())
        .bind(now.as_micros())
        .bind(rows_max)
        .fetch_all(&self.pools.reader)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(session).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn end_session(&self, user_id: UserId, id: SessionId, now: Timestamp) -> Result<bool> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let number = next_revocation(&mut tx).await?;
            let ended = query(
                "UPDATE session SET ended_at = $3 \
                 WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3",
            )
            .bind(id.uuid())
            .bind(user_id.uuid())
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await
            .map_err(error)?;
            if ended.rows_affected() == 0 {
                tx.rollback().await.map_err(error)?;
                return Ok(false);
            }
            let (session_id, except_session_id) = (Some(id), None);
            let until = Revocation::own_until(now);
            let revocation = Revocation { number, user_id, session_id, except_session_id, revoked_at: now, until };
            insert_revocation(&mut tx, &revocation).await?;
            tx.commit().await.map_err(error)?;
            Ok(true)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn end_sessions(&self, user_id: UserId, now: Timestamp) -> Result<()> {
        let writer = self.pools.writer.clone();
        run(async move {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(error)?;
            let number = next_revocation(&mut tx).await?;
            end_all(&mut tx, (user_id, None), number, now).await?;
            tx.commit().await.map_err(error)
        })
        .await
    }
}

async fn insert_account(tx: &mut SqliteConnection, Account { user, password_hash }: &Account) -> Result<()> {
    query(
        "INSERT INTO account (id, email, full_name, designation, password_hash, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(user.id.uuid())
    .bind(user.email.as_str())
    .bind(&user.profile.full_name)
    .bind(&user.profile.designation)
    .bind(password_hash)
    .bind(user.created_at.as_micros())
    .execute(tx)
    .await
    .map_err(|cause| {
        let is_taken = violates(&cause, "account.email");
        if is_taken { Error::new(ErrorKind::EmailTaken, "the address has an account") } else { error(cause) }
    })?;
    Ok(())
}

pub(super) async fn replace_words(tx: &mut SqliteConnection, id: UserId, words: &[String]) -> Result<()> {
    query("DELETE FROM user_search WHERE user_id = $1").bind(id.uuid()).execute(&mut *tx).await.map_err(error)?;
    insert_words(tx, id, words).await
}

async fn insert_words(tx: &mut SqliteConnection, id: UserId, words: &[String]) -> Result<()> {
    query("INSERT INTO user_search (word, user_id) SELECT value, $1 FROM json_each($2)")
        .bind(id.uuid())
        .bind(json(words))
        .execute(tx)
        .await
        .map_err(error)?;
    Ok(())
}

/// False when the password has been changed since the hash was verified.
async fn insert_session(connection: &mut SqliteConnection, session: &NewSession, password_hash: &str) -> Result<bool> {
    let inserted = query(
        "INSERT INTO session \
             (id, user_id, user_agent, created_at, last_used_at, expires_at, generation, token_digest, place) \
         SELECT $1, id, $3, $4, $4, $5, 0, $6, $8 FROM account \
         WHERE id = $2 AND password_hash = $7 AND deactivated_at IS NULL",
    )
    .bind(session.id.uuid())
    .bind(session.user_id.uuid())
    .bind(&session.user_agent)
    .bind(session.created_at.as_micros())
    .bind(session.expires_at.as_micros())
    .bind(session.token_digest.as_slice())
    .bind(password_hash)
    .bind(session.place.as_ref().map(Digest::as_slice))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(inserted.rows_affected() == 1)
}

async fn insert_use(tx: &mut SqliteConnection, rotation: &Rotation) -> Result<()> {
    query("DELETE FROM refresh_use WHERE session_id = $1 AND used_at < $2")
        .bind(rotation.session_id.uuid())
        .bind(rotation.forget_before.as_micros())
        .execute(&mut *tx)
        .await
        .map_err(error)?;
    query("INSERT INTO refresh_use (session_id, generation, used_at) VALUES ($1, $2, $3)")
        .bind(rotation.session_id.uuid())
        .bind(rotation.generation)
        .bind(rotation.used_at.as_micros())
        .execute(tx)
        .await
        .map_err(error)?;
    Ok(())
}

fn json(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}
