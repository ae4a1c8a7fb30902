//! The keys of this context on PostgreSQL.

use async_trait::async_trait;
use messenger_core::{Result, Timestamp};
use messenger_db::{error, run};
use sqlx::{query, query_as};
use tracing::instrument;

use super::{KeyRow, KeyStore, Replaces, keys};
use crate::{
    model::{Keys, SigningKey, StoredSecret},
    store::PostgresStore,
};

#[async_trait]
impl KeyStore for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn agree_on_keys(&self, offered: Keys, now: Timestamp) -> Result<Keys> {
        for key in offered.signing {
            query(
                "INSERT INTO signing_key (kid, private_key, sealed_by, is_active, created_at, signs_from) \
                 VALUES ($1, $2, $3, TRUE, $4, $5) ON CONFLICT (is_active) WHERE is_active DO NOTHING",
            )
            .bind(key.kid)
            .bind(key.private_key.bytes)
            .bind(key.private_key.sealed_by)
            .bind(now.as_micros())
            .bind(key.signs_from.as_micros())
            .execute(&self.pool)
            .await
            .map_err(error)?;
        }
        query("INSERT INTO refresh_key (id, secret, sealed_by) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(offered.refresh_secret.bytes)
            .bind(offered.refresh_secret.sealed_by)
            .execute(&self.pool)
            .await
            .map_err(error)?;
        self.keys().await
    }

    #[instrument(level = "debug", skip_all)]
    async fn keys(&self) -> Result<Keys> {
        let rows: Vec<KeyRow> =
            query_as("SELECT kid, private_key, sealed_by, signs_from FROM signing_key ORDER BY signs_from, created_at")
                .fetch_all(&self.pool)
                .await
                .map_err(error)?;
        let secret: Option<(Vec<u8>, Option<String>)> =
            query_as("SELECT secret, sealed_by FROM refresh_key").fetch_optional(&self.pool).await.map_err(error)?;
        keys(rows, secret)
    }

    #[instrument(level = "debug", skip_all)]
    async fn add_key(&self, key: SigningKey, replaces: Replaces, now: Timestamp) -> Result<()> {
        let pool = self.pool.clone();
        run(async move {
            let mut tx = pool.begin().await.map_err(error)?;
            let before = match replaces {
                Replaces::InTurn => "UPDATE signing_key SET is_active = FALSE WHERE is_active",
                Replaces::All => "DELETE FROM signing_key",
            };
            query(before).execute(&mut *tx).await.map_err(error)?;
            query(
                "INSERT INTO signing_key (kid, private_key, sealed_by, is_active, created_at, signs_from) \
                 VALUES ($1, $2, $3, TRUE, $4, $5)",
            )
            .bind(key.kid)
            .bind(key.private_key.bytes)
            .bind(key.private_key.sealed_by)
            .bind(now.as_micros())
            .bind(key.signs_from.as_micros())
            .execute(&mut *tx)
            .await
            .map_err(error)?;
            tx.commit().await.map_err(error)
        })
        .await
    }

    #[instrument(level = "debug", skip_all)]
    async fn seal_key(&self, kid: &str, private_key: StoredSecret) -> Result<()> {
        query("UPDATE signing_key SET private_key = $2, sealed_by = $3 WHERE kid = $1")
            .bind(kid)
            .bind(private_key.bytes)
            .bind(private_key.sealed_by)
            .execute(&self.pool)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn seal_refresh_secret(&self, secret: StoredSecret) -> Result<()> {
        query("UPDATE refresh_key SET secret = $1, sealed_by = $2")
            .bind(secret.bytes)
            .bind(secret.sealed_by)
            .execute(&self.pool)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn purge_keys(&self, succeeded_before: Timestamp) -> Result<()> {
        query(
            "DELETE FROM signing_key WHERE NOT is_active AND EXISTS ( \
                 SELECT 1 FROM signing_key l WHERE l.signs_from > signing_key.signs_from AND l.signs_from < $1)",
        )
        .bind(succeeded_before.as_micros())
        .execute(&self.pool)
        .await
        .map_err(error)?;
        Ok(())
    }
}
