//! The keys that every process of this context shares.

use messenger_core::{Error, Result, Timestamp};
use messenger_db::run;
use tracing::instrument;

use super::Store;
use crate::model::{Keys, SigningKey, StoredSecret};

/// What a new key does to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// They sign until its time comes, and what they signed stays good.
    InTurn,
    /// They are gone: what they signed is worth nothing any more.
    All,
}

impl Store {
    /// The keys in force: those offered if there were none. Processes that start at once agree.
    #[instrument(level = "debug", skip_all)]
    pub async fn agree_on_keys(&self, offered: Keys, now: Timestamp) -> Result<Keys> {
        for key in offered.signing {
            self.database
                .write(
                    "INSERT INTO signing_key (kid, private_key, sealed_by, is_active, created_at, signs_from) \
                     VALUES ($1, $2, $3, TRUE, $4, $5) ON CONFLICT (is_active) WHERE is_active DO NOTHING",
                )
                .bind(key.kid)
                .bind(key.private_key.bytes)
                .bind(key.private_key.sealed_by)
                .bind(now.as_micros())
                .bind(key.signs_from.as_micros())
                .execute()
                .await?;
        }
        self.database
            .write("INSERT INTO refresh_key (id, secret, sealed_by) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(offered.refresh_secret.bytes)
            .bind(offered.refresh_secret.sealed_by)
            .execute()
            .await?;
        self.keys().await
    }

    /// The keys in force.
    #[instrument(level = "debug", skip_all)]
    pub async fn keys(&self) -> Result<Keys> {
        let rows: Vec<KeyRow> = self
            .database
            .read("SELECT kid, private_key, sealed_by, signs_from FROM signing_key ORDER BY signs_from, created_at")
            .fetch_all()
            .await?;
        let secret = self.database.read("SELECT secret, sealed_by FROM refresh_key").fetch_optional().await?;
        keys(rows, secret)
    }

    /// A further signing key. Errors: INTERNAL when another is added at the same time.
    #[instrument(level = "debug", skip_all)]
    pub async fn add_key(&self, key: SigningKey, replaces: Replaces, now: Timestamp) -> Result<()> {
        let database = self.database.clone();
        run(async move {
            let mut tx = database.begin().await?;
            let before = match replaces {
                Replaces::InTurn => "UPDATE signing_key SET is_active = FALSE WHERE is_active",
                Replaces::All => "DELETE FROM signing_key",
            };
            tx.statement(before).execute().await?;
            tx.statement(
                "INSERT INTO signing_key (kid, private_key, sealed_by, is_active, created_at, signs_from) \
                 VALUES ($1, $2, $3, TRUE, $4, $5)",
            )
            .bind(key.kid)
            .bind(key.private_key.bytes)
            .bind(key.private_key.sealed_by)
            .bind(now.as_micros())
            .bind(key.signs_from.as_micros())
            .execute()
            .await?;
            tx.commit().await
        })
        .await
    }

    /// Replaces how a private key is stored.
    #[instrument(level = "debug", skip_all)]
    pub async fn seal_key(&self, kid: &str, private_key: StoredSecret) -> Result<()> {
        self.database
            .write("UPDATE signing_key SET private_key = $2, sealed_by = $3 WHERE kid = $1")
            .bind(kid)
            .bind(private_key.bytes)
            .bind(private_key.sealed_by)
            .execute()
            .await?;
        Ok(())
    }

    /// Replaces how the secret of refresh tokens is stored.
    #[instrument(level = "debug", skip_all)]
    pub async fn seal_refresh_secret(&self, secret: StoredSecret) -> Result<()> {
        self.database
            .write("UPDATE refresh_key SET secret = $1, sealed_by = $2")
            .bind(secret.bytes)
            .bind(secret.sealed_by)
            .execute()
            .await?;
        Ok(())
    }

    /// Removes keys after which another has signed since before this.
    #[instrument(level = "debug", skip_all)]
    pub async fn purge_keys(&self, succeeded_before: Timestamp) -> Result<()> {
        self.database
            .write(
                "DELETE FROM signing_key WHERE NOT is_active AND EXISTS ( \
                     SELECT 1 FROM signing_key l WHERE l.signs_from > signing_key.signs_from AND l.signs_from < $1)",
            )
            .bind(succeeded_before.as_micros())
            .execute()
            .await?;
        Ok(())
    }
}

type KeyRow = (String, Vec<u8>, Option<String>, i64);

fn keys(rows: Vec<KeyRow>, secret: Option<(Vec<u8>, Option<String>)>) -> Result<Keys> {
    let signing: Vec<SigningKey> = rows
        .into_iter()
        .map(|(kid, bytes, sealed_by, signs_from)| SigningKey {
            kid,
            private_key: StoredSecret { bytes, sealed_by },
            signs_from: Timestamp::from_micros(signs_from),
        })
        .collect();
    match secret {
        Some((bytes, sealed_by)) if !signing.is_empty() => {
            Ok(Keys { signing, refresh_secret: StoredSecret { bytes, sealed_by } })
        }
        _ => Err(Error::internal("the store has no signing key")),
    }
}
