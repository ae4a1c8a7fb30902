//! The keys that every process of this context shares.

mod postgres;
mod sqlite;

use async_trait::async_trait;
use messenger_core::{Error, Result, Timestamp};

use crate::model::{Keys, SigningKey, StoredSecret};

/// What a new key does to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// They sign until its time comes, and what they signed stays good.
    InTurn,
    /// They are gone: what they signed is worth nothing any more.
    All,
}

/// The part of the store for keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The keys in force: those offered if there were none. Processes that start at once agree.
    async fn agree_on_keys(&self, offered: Keys, now: Timestamp) -> Result<Keys>;
    /// The keys in force.
    async fn keys(&self) -> Result<Keys>;
    /// A further signing key. Errors: INTERNAL when another is added at the same time.
    async fn add_key(&self, key: SigningKey, replaces: Replaces, now: Timestamp) -> Result<()>;
    /// Replaces how a private key is stored.
    async fn seal_key(&self, kid: &str, private_key: StoredSecret) -> Result<()>;
    /// Replaces how the secret of refresh tokens is stored.
    async fn seal_refresh_secret(&self, secret: StoredSecret) -> Result<()>;
    /// Removes keys after which another has signed since before this.
    async fn purge_keys(&self, succeeded_before: Timestamp) -> Result<()>;
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
