//! Users of other identity systems on PostgreSQL.

use async_trait::async_trait;
use messenger_core::{Error, Result, Timestamp, UserId};
use messenger_db::{error, run};
use sqlx::{PgConnection, query, query_as, query_scalar};
use tracing::instrument;

use super::{ForeignRow, ForeignStore, Known, known, merge};
use crate::{
    model::ForeignProfile,
    search::words,
    store::{PostgresStore, postgres::replace_words},
};

#[async_trait]
impl ForeignStore for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn describe(&self, profile: ForeignProfile, now: Timestamp) -> Result<Known> {
        let pool = self.pool.clone();
        run(async move {
            let mut tx = pool.begin().await.map_err(error)?;
            let is_new = insert(&mut tx, &profile, now).await?;
            let before = read(&mut tx, &profile).await?;
            let after = merge(before.clone(), &profile);
            if before != after {
                update(&mut tx, profile.user_id, &after).await?;
            }
            if is_new || before.full_name != after.full_name {
                replace_words(&mut tx, profile.user_id, &words(&after.full_name)).await?;
            }
            tx.commit().await.map_err(error)?;
            Ok(known(profile.user_id, after))
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn is_foreign(&self, id: UserId) -> Result<bool> {
        query_scalar("SELECT EXISTS (SELECT 1 FROM account WHERE id = $1 AND issuer IS NOT NULL)")
            .bind(id.uuid())
            .fetch_one(&self.pool)
            .await
            .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn foreign_keys(&self, issuer: &str) -> Result<Option<String>> {
        query_scalar("SELECT jwks FROM foreign_issuer WHERE issuer = $1")
            .bind(issuer)
            .fetch_optional(&self.pool)
            .await
            .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn keep_foreign_keys(&self, issuer: &str, jwks: &str, now: Timestamp) -> Result<()> {
        query(
            "INSERT INTO foreign_issuer (issuer, jwks, fetched_at) VALUES ($1, $2, $3) \
             ON CONFLICT (issuer) DO UPDATE SET jwks = excluded.jwks, fetched_at = excluded.fetched_at",
        )
        .bind(issuer)
        .bind(jwks)
        .bind(now.as_micros())
        .execute(&self.pool)
        .await
        .map_err(error)?;
        Ok(())
    }
}

/// As nobody has described it yet; true if it was not there.
async fn insert(tx: &mut PgConnection, profile: &ForeignProfile, now: Timestamp) -> Result<bool> {
    let inserted = query(
        "INSERT INTO account (id, email, full_name, designation, created_at, issuer, subject, described_at) \
         VALUES ($1, '', $2, '', $3, $4, $5, -1) ON CONFLICT (id) DO NOTHING",
    )
    .bind(profile.user_id.uuid())
    .bind(profile.name_unless_described())
    .bind(now.as_micros())
    .bind(&profile.issuer)
    .bind(&profile.subject)
    .execute(tx)
    .await
    .map_err(error)?;
    Ok(inserted.rows_affected() == 1)
}

async fn read(tx: &mut PgConnection, profile: &ForeignProfile) -> Result<ForeignRow> {
    let row: Option<ForeignRow> = query_as(
        "SELECT email, full_name, designation, created_at, described_at, token_at, deactivated_at FROM account \
         WHERE id = $1 AND issuer = $2 AND subject = $3 FOR UPDATE",
    )
    .bind(profile.user_id.uuid())
    .bind(&profile.issuer)
    .bind(&profile.subject)
    .fetch_optional(tx)
    .await
    .map_err(error)?;
    row.ok_or_else(|| Error::internal("another user has the id of this subject"))
}

async fn update(tx: &mut PgConnection, id: UserId, row: &ForeignRow) -> Result<()> {
    query(
        "UPDATE account SET email = $2, full_name = $3, designation = $4, described_at = $5, token_at = $6 \
         WHERE id = $1",
    )
    .bind(id.uuid())
    .bind(&row.email)
    .bind(&row.full_name)
    .bind(&row.designation)
    .bind(row.described_at)
    .bind(row.token_at)
    .execute(tx)
    .await
    .map_err(error)?;
    Ok(())
}
