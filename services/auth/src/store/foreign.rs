//! Users of other identity systems: their rows, and the last keys of those systems.

use messenger_core::{Error, Result, Timestamp, UserId};
use messenger_db::{Sql, Transaction, run};
use tracing::instrument;

use super::{Store, users::replace_words};
use crate::{
    model::{Email, ForeignProfile, Profile, User},
    search::words,
};

/// A user and whether it may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub user: User,
    /// Not deactivated.
    pub is_active: bool,
}

impl Store {
    /// Makes or updates a user of another identity system.
    #[instrument(level = "debug", skip_all)]
    pub async fn describe(&self, profile: ForeignProfile, now: Timestamp) -> Result<Known> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let is_new = insert(&mut tx, &profile, now).await?;
            let before = read(&mut tx, &profile).await?;
            let after = merge(before.clone(), &profile);
            if before != after {
                update(&mut tx, profile.user_id, &after).await?;
            }
            if is_new || before.full_name != after.full_name {
                replace_words(&mut tx, profile.user_id, words(&after.full_name)).await?;
            }
            tx.commit().await?;
            Ok(known(profile.user_id, after))
        })
        .await
    }

    /// Whether this user is of another identity system.
    #[instrument(level = "debug", skip_all)]
    pub async fn is_foreign(&self, id: UserId) -> Result<bool> {
        let (is_foreign,) = self
            .database
            .read("SELECT EXISTS (SELECT 1 FROM account WHERE id = $1 AND issuer IS NOT NULL)")
            .bind(id.uuid())
            .fetch_one()
            .await?;
        Ok(is_foreign)
    }

    /// The last JWK set of an issuer.
    #[instrument(level = "debug", skip_all)]
    pub async fn foreign_keys(&self, issuer: &str) -> Result<Option<String>> {
        let row: Option<(String,)> = self
            .database
            .read("SELECT jwks FROM foreign_issuer WHERE issuer = $1")
            .bind(issuer)
            .fetch_optional()
            .await?;
        Ok(row.map(|(jwks,)| jwks))
    }

    /// Keeps an issuer's JWK set for when it is away.
    #[instrument(level = "debug", skip_all)]
    pub async fn keep_foreign_keys(&self, issuer: &str, jwks: &str, now: Timestamp) -> Result<()> {
        self.database
            .write(
                "INSERT INTO foreign_issuer (issuer, jwks, fetched_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (issuer) DO UPDATE SET jwks = excluded.jwks, fetched_at = excluded.fetched_at",
            )
            .bind(issuer)
            .bind(jwks)
            .bind(now.as_micros())
            .execute()
            .await?;
        Ok(())
    }
}

/// As nobody has described it yet; true if it was not there. ON CONFLICT names no index: it would not hold for the other of
/// the two unique ones, where somebody who inserts the same user at the same moment can be met as well.
async fn insert(tx: &mut Transaction, profile: &ForeignProfile, now: Timestamp) -> Result<bool> {
    let inserted = tx
        .statement(
            "INSERT INTO account (id, email, full_name, designation, created_at, issuer, subject, described_at) \
             VALUES ($1, '', $2, '', $3, $4, $5, -1) ON CONFLICT DO NOTHING",
        )
        .bind(profile.user_id.uuid())
        .bind(profile.name_unless_described())
        .bind(now.as_micros())
        .bind(&profile.issuer)
        .bind(&profile.subject)
        .execute()
        .await?;
    Ok(inserted == 1)
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

async fn read(tx: &mut Transaction, profile: &ForeignProfile) -> Result<ForeignRow> {
    let row: Option<ForeignRow> = tx
        .statement(Sql {
            postgres: "SELECT email, full_name, designation, created_at, described_at, token_at, deactivated_at \
                       FROM account WHERE id = $1 AND issuer = $2 AND subject = $3 FOR UPDATE",
            sqlite: "SELECT email, full_name, designation, created_at, described_at, token_at, deactivated_at \
                     FROM account WHERE id = $1 AND issuer = $2 AND subject = $3",
        })
        .bind(profile.user_id.uuid())
        .bind(&profile.issuer)
        .bind(&profile.subject)
        .fetch_optional()
        .await?;
    row.ok_or_else(|| Error::internal("another user has the id of this subject"))
}

async fn update(tx: &mut Transaction, id: UserId, row: &ForeignRow) -> Result<()> {
    tx.statement(
        "UPDATE account SET email = $2, full_name = $3, designation = $4, described_at = $5, token_at = $6 \
         WHERE id = $1",
    )
    .bind(id.uuid())
    .bind(&row.email)
    .bind(&row.full_name)
    .bind(&row.designation)
    .bind(row.described_at)
    .bind(row.token_at)
    .execute()
    .await?;
    Ok(())
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
