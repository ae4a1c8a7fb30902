//! Persistence of this context: one trait, PostgreSQL and SQLite behind it, one contract suite over both.

mod access;
mod foreign;
mod keys;
mod migrations;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use messenger_core::{Result, SessionId, Timestamp, UserId};
use messenger_db::{Location, open_postgres, open_sqlite};

pub use self::{
    access::AccessStore,
    foreign::{ForeignStore, Known},
    keys::{KeyStore, Replaces},
};
use self::{postgres::PostgresStore, sqlite::SqliteStore};
use crate::{
    model::{
        Account, Digest, Email, NewSession, PasswordChange, Profile, ProfileChange, RefreshState, Rotation, Session,
        User,
    },
    search::WordRange,
};

/// Of this context: its schema in PostgreSQL, its file in SQLite.
pub const CONTEXT: &str = "auth";
const CONNECTIONS_MAX: u32 = 8;

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// One line for the operator when the store cannot be used or its schema is newer than this program.
pub async fn open(location: &Location) -> Result<Arc<dyn Store>> {
    Ok(match location {
        Location::Postgres(url) => {
            let pool = open_postgres(url, CONTEXT, &migrations::POSTGRES, CONNECTIONS_MAX).await?;
            Arc::new(PostgresStore { pool })
        }
        Location::Sqlite(folder) => {
            let file = Location::sqlite_file(folder, CONTEXT);
            Arc::new(SqliteStore { pools: open_sqlite(&file, &migrations::SQLITE).await? })
        }
    })
}

/// What this context keeps. Besides the errors named, each function fails with UNAVAILABLE or INTERNAL.
#[async_trait]
pub trait Store: AccessStore + ForeignStore + KeyStore + Send + Sync + 'static {
    /// A new account under its search words, with its first session. Errors: EMAIL_TAKEN.
    async fn register(&self, account: Account, words: Vec<String>, session: NewSession) -> Result<()>;
    /// The account with a password and this address.
    async fn account_by_email(&self, email: &Email) -> Result<Option<Account>>;
    /// The account of this user, if it has a password here.
    async fn account(&self, id: UserId) -> Result<Option<Account>>;
    /// Those that exist, in no order.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>>;
    /// All with this address: ours, and those other identity systems gave it to.
    async fn users_by_email(&self, email: &Email, rows_max: i64) -> Result<Vec<User>>;
    /// The lowest of a user's words in the range: by it the user stands in a search.
    async fn lowest_word(&self, id: UserId, range: &WordRange) -> Result<Option<String>>;
    /// Users by their lowest word in the range, after this word and user (the range's beginning and the nil id: from the
    /// first).
    async fn search(&self, range: &WordRange, after: (&str, UserId), rows_max: i64) -> Result<Vec<User>>;
    /// Replaces what is given of a profile. Errors: NOT_FOUND.
    async fn update_profile(&self, id: UserId, change: ProfileChange) -> Result<User>;
    /// Replaces the password hash and ends the user's other sessions; false if the hash is no longer the one that was
    /// verified.
    async fn change_password(&self, change: PasswordChange, now: Timestamp) -> Result<bool>;

    /// A further session, unless the password has been changed since this hash was verified, or the user deactivated
    /// (false).
    async fn begin_session(&self, session: NewSession, password_hash: &str) -> Result<bool>;
    /// Whether a session of this user began at this place.
    async fn knows_place(&self, user_id: UserId, place: &Digest) -> Result<bool>;
    /// What a refresh token of this generation is judged by.
    async fn refresh_state(&self, id: SessionId, generation: i64) -> Result<Option<RefreshState>>;
    /// Takes one step of a session's chain; false if the session is over or another took it.
    async fn rotate(&self, rotation: Rotation) -> Result<bool>;
    /// The user's live sessions, the last used first.
    async fn sessions(&self, user_id: UserId, now: Timestamp, rows_max: i64) -> Result<Vec<Session>>;
    /// Ends one session of a user; false if there is no such live one.
    async fn end_session(&self, user_id: UserId, id: SessionId, now: Timestamp) -> Result<bool>;
    /// Ends every session of a user.
    async fn end_sessions(&self, user_id: UserId, now: Timestamp) -> Result<()>;
}

type AccountRow = (uuid::Uuid, String, String, String, i64, String);
type UserRow = (uuid::Uuid, String, String, String, i64);
type RefreshRow = (uuid::Uuid, i64, Vec<u8>, Option<i64>, i64, bool);
type SessionRow = (uuid::Uuid, i64, i64, String);

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

fn refresh_state(row: RefreshRow) -> Result<RefreshState> {
    let (user_id, generation, digest, used_at, expires_at, is_ended) = row;
    Ok(RefreshState {
        user_id: UserId::from_uuid(user_id),
        generation,
        token_digest: digest.try_into().map_err(|_| messenger_core::Error::internal("stored digest of odd length"))?,
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
