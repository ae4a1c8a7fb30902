//! Users, their passwords, and the words they are found by.

use messenger_core::{Error, ErrorKind, Result, Timestamp, UserId};
use messenger_db::{List, Sql, Transaction, run};
use tracing::instrument;
use uuid::Uuid;

use super::{
    Store,
    access::{end_all, next_revocation},
    sessions::{INSERT_SESSION, insert_session},
};
use crate::{
    model::{Account, Email, NewSession, PasswordChange, Profile, ProfileChange, User},
    search::WordRange,
};

/// Words looked at for one page of a search: of accounts whose words stand in each other's way nobody waits for more.
const SEARCHED_WORDS_MAX: i64 = 1_000;

impl Store {
    /// A new account under its search words, with its first session. Errors: EMAIL_TAKEN.
    #[instrument(level = "debug", skip_all)]
    pub async fn register(&self, account: Account, words: Vec<String>, session: NewSession) -> Result<()> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            insert_account(&mut tx, &account).await?;
            insert_words(&mut tx, account.user.id, words).await?;
            insert_session(tx.statement(INSERT_SESSION), &session, &account.password_hash).await?;
            tx.commit().await
        })
        .await
    }

    /// The account with a password and this address.
    #[instrument(level = "debug", skip_all)]
    pub async fn account_by_email(&self, email: &Email) -> Result<Option<Account>> {
        let row: Option<AccountRow> = self
            .database
            .read(
                "SELECT id, email, full_name, designation, created_at, password_hash FROM account \
                 WHERE email = $1 AND issuer IS NULL",
            )
            .bind(email.as_str())
            .fetch_optional()
            .await?;
        Ok(row.map(account))
    }

    /// The account of this user, if it has a password here.
    #[instrument(level = "debug", skip_all)]
    pub async fn account(&self, id: UserId) -> Result<Option<Account>> {
        let row: Option<AccountRow> = self
            .database
            .read(
                "SELECT id, email, full_name, designation, created_at, password_hash FROM account \
                 WHERE id = $1 AND issuer IS NULL",
            )
            .bind(id.uuid())
            .fetch_optional()
            .await?;
        Ok(row.map(account))
    }

    /// Those that exist, in no order.
    #[instrument(level = "debug", skip_all)]
    pub async fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = self
            .database
            .read(Sql {
                postgres: "SELECT id, email, full_name, designation, created_at FROM account WHERE id = ANY($1)",
                sqlite: "SELECT id, email, full_name, designation, created_at FROM account \
                         WHERE id IN (SELECT unhex(value, '-') FROM json_each($1))",
            })
            .bind(List::from(ids))
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(user).collect())
    }

    /// All with this address: ours, and those other identity systems gave it to.
    #[instrument(level = "debug", skip_all)]
    pub async fn users_by_email(&self, email: &Email, rows_max: i64) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = self
            .database
            .read(
                "SELECT id, email, full_name, designation, created_at FROM account \
                 WHERE email = $1 ORDER BY id LIMIT $2",
            )
            .bind(email.as_str())
            .bind(rows_max)
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(user).collect())
    }

    /// One of a user's words in the range, by how many are lower; by the lowest, 0, the user stands in a search.
    #[instrument(level = "debug", skip_all)]
    pub async fn word(&self, id: UserId, range: &WordRange, lower: i64) -> Result<Option<String>> {
        let row: Option<(String,)> = self
            .database
            .read(
                "SELECT word FROM user_search WHERE user_id = $1 AND word >= $2 AND word < $3 \
                 ORDER BY word LIMIT 1 OFFSET $4",
            )
            .bind(id.uuid())
            .bind(&range.from)
            .bind(&range.below)
            .bind(lower)
            .fetch_optional()
            .await?;
        Ok(row.map(|(word,)| word))
    }

    /// Where a search stands that has read so many words after this one as it may for a page: whose word that is, and how
    /// many of that user's are lower. None when it has read them all.
    #[instrument(level = "debug", skip_all)]
    pub async fn search_end(&self, range: &WordRange, after: (&str, UserId)) -> Result<Option<(UserId, i64)>> {
        let row: Option<(Uuid, i64)> = self
            .database
            .read(
                "SELECT s.user_id, (SELECT COUNT(*) FROM user_search l \
                                    WHERE l.user_id = s.user_id AND l.word >= $1 AND l.word < s.word) \
                 FROM user_search s WHERE s.word < $2 AND (s.word, s.user_id) > ($3, $4) \
                 ORDER BY s.word, s.user_id LIMIT 1 OFFSET $5",
            )
            .bind(&range.from)
            .bind(&range.below)
            .bind(after.0)
            .bind(after.1.uuid())
            .bind(SEARCHED_WORDS_MAX - 1)
            .fetch_optional()
            .await?;
        Ok(row.map(|(user, lower)| (UserId::from_uuid(user), lower)))
    }

    /// Users by their lowest word in the range, after this word and user (the range's beginning and the nil id: from the
    /// first). Looks at 1,000 words: who stands behind them is found from [`Self::search_end`] on.
    #[instrument(level = "debug", skip_all)]
    pub async fn search(&self, range: &WordRange, after: (&str, UserId), rows_max: i64) -> Result<Vec<User>> {
        let rows: Vec<UserRow> = self
            .database
            .read(
                "SELECT a.id, a.email, a.full_name, a.designation, a.created_at \
                 FROM (SELECT word, user_id FROM user_search WHERE word < $2 AND (word, user_id) > ($3, $4) \
                       ORDER BY word, user_id LIMIT $6) s JOIN account a ON a.id = s.user_id \
                 WHERE NOT EXISTS ( \
                     SELECT 1 FROM user_search l WHERE l.user_id = s.user_id AND l.word >= $1 AND l.word < s.word) \
                 ORDER BY s.word, s.user_id LIMIT $5",
            )
            .bind(&range.from)
            .bind(&range.below)
            .bind(after.0)
            .bind(after.1.uuid())
            .bind(rows_max)
            .bind(SEARCHED_WORDS_MAX)
            .fetch_all()
            .await?;
        Ok(rows.into_iter().map(user).collect())
    }

    /// Replaces what is given of a profile. Errors: NOT_FOUND.
    #[instrument(level = "debug", skip_all)]
    pub async fn update_profile(&self, id: UserId, change: ProfileChange) -> Result<User> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let (full_name, words) = change.full_name.unzip();
            let row: Option<UserRow> = tx
                .statement(
                    "UPDATE account SET full_name = COALESCE($2, full_name), designation = COALESCE($3, designation) \
                     WHERE id = $1 RETURNING id, email, full_name, designation, created_at",
                )
                .bind(id.uuid())
                .bind(full_name)
                .bind(change.designation)
                .fetch_optional()
                .await?;
            if let Some(words) = words.filter(|_| row.is_some()) {
                replace_words(&mut tx, id, words).await?;
            }
            tx.commit().await?;
            row.map(user).ok_or_else(|| Error::not_found("no such user"))
        })
        .await
    }

    /// Replaces the password hash and ends the user's other sessions; false if the hash is no longer the one that was
    /// verified.
    #[instrument(level = "debug", skip_all)]
    pub async fn change_password(&self, change: PasswordChange, now: Timestamp) -> Result<bool> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let number = next_revocation(&mut tx).await?;
            let changed = tx
                .statement("UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
                .bind(change.user_id.uuid())
                .bind(change.from)
                .bind(change.to)
                .execute()
                .await?;
            if changed == 0 {
                tx.rollback().await?;
                return Ok(false);
            }
            end_all(&mut tx, (change.user_id, Some(change.keep)), number, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

type AccountRow = (Uuid, String, String, String, i64, String);
type UserRow = (Uuid, String, String, String, i64);

fn account((id, email, full_name, designation, created_at, password_hash): AccountRow) -> Account {
    Account { user: user((id, email, full_name, designation, created_at)), password_hash }
}

fn user((id, email, full_name, designation, created_at): UserRow) -> User {
    User {
        id: UserId::from_uuid(id),
        email: Email::from_stored(email),
        profile: Profile { full_name, designation },
        created_at: Timestamp::from_micros(created_at),
    }
}

/// Waits for others who register the same address.
async fn insert_account(tx: &mut Transaction, Account { user, password_hash }: &Account) -> Result<()> {
    let inserted = tx
        .statement(
            "INSERT INTO account (id, email, full_name, designation, password_hash, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (email) WHERE issuer IS NULL DO NOTHING",
        )
        .bind(user.id.uuid())
        .bind(user.email.as_str())
        .bind(&user.profile.full_name)
        .bind(&user.profile.designation)
        .bind(password_hash)
        .bind(user.created_at.as_micros())
        .execute()
        .await?;
    if inserted == 0 { Err(Error::new(ErrorKind::EmailTaken, "the address has an account")) } else { Ok(()) }
}

pub(super) async fn replace_words(tx: &mut Transaction, id: UserId, words: Vec<String>) -> Result<()> {
    tx.statement("DELETE FROM user_search WHERE user_id = $1").bind(id.uuid()).execute().await?;
    insert_words(tx, id, words).await
}

async fn insert_words(tx: &mut Transaction, id: UserId, words: Vec<String>) -> Result<()> {
    tx.statement(Sql {
        postgres: "INSERT INTO user_search (word, user_id) SELECT word, $1 FROM unnest($2) AS word",
        sqlite: "INSERT INTO user_search (word, user_id) SELECT value, $1 FROM json_each($2)",
    })
    .bind(id.uuid())
    .bind(List(words))
    .execute()
    .await?;
    Ok(())
}
