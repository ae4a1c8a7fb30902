//! Users of other identity systems: their rows, and the last keys of those systems.

mod postgres;
mod sqlite;

use async_trait::async_trait;
use messenger_core::{Result, Timestamp, UserId};

use crate::model::{Email, ForeignProfile, Profile, User};

/// The part of the store for users of other identity systems.
#[async_trait]
pub trait ForeignStore: Send + Sync {
    /// Makes or updates a user.
    async fn describe(&self, profile: ForeignProfile, now: Timestamp) -> Result<Known>;
    /// Whether this user is of another identity system.
    async fn is_foreign(&self, id: UserId) -> Result<bool>;
    /// The last JWK set of an issuer.
    async fn foreign_keys(&self, issuer: &str) -> Result<Option<String>>;
    /// Keeps an issuer's JWK set for when it is away.
    async fn keep_foreign_keys(&self, issuer: &str, jwks: &str, now: Timestamp) -> Result<()>;
}

/// A user and whether it may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub user: User,
    /// Not deactivated.
    pub is_active: bool,
}

/// What a row says of such a user.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
struct ForeignRow {
    email: String,
    full_name: String,
    designation: String,
    created_at: i64,
    described_at: i64,
    token_at: i64,
    deactivated_at: Option<i64>,
}

/// What is newer wins; what it does not say stays.
fn merge(mut row: ForeignRow, profile: &ForeignProfile) -> ForeignRow {
    if profile.as_of.as_micros() > row.described_at {
        row.described_at = profile.as_of.as_micros();
        let said = |text: Option<&str>, before: String| text.map_or(before, str::to_owned);
        row.email = said(profile.email.as_ref().map(Email::as_str), row.email);
        row.full_name = said(profile.full_name.as_deref(), row.full_name);
        row.designation = said(profile.designation.as_deref(), row.designation);
    }
    if let Some(token_at) = profile.token_at {
        row.token_at = row.token_at.max(token_at.as_micros());
    }
    row
}

fn known(id: UserId, row: ForeignRow) -> Known {
    let user = User {
        id,
        email: Email::from_stored(row.email),
        profile: Profile { full_name: row.full_name, designation: row.designation },
        created_at: Timestamp::from_micros(row.created_at),
    };
    Known { user, is_active: row.deactivated_at.is_none() }
}
