//! What an operator does with keys and users, also while processes run on the same store: those notice by themselves.

use std::{fmt, path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use messenger_core::{Clock as _, Error, ErrorKind, Result, SystemClock, Timestamp, UserId};
use messenger_db::{Location, StoreArgs};
use messenger_rpc::Secret;
use messenger_telemetry::{AUDIT, Audit};

use crate::{
    keys::KeyRing,
    open_store,
    seal::Seal,
    store::{CONTEXT, Replaces, Store},
};

/// What to do with the keys that sign access tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Add a signing key. It is published at once and signs two minutes later; the one before stays published until its
    /// tokens are over.
    Rotate {
        /// For a key that leaked: the new one signs at once, and all before it and their tokens are worth nothing any
        /// more. Clients refresh.
        #[arg(long)]
        now: bool,
        /// Where the keys are.
        #[command(flatten)]
        keys: KeysArgs,
    },
    /// Show the names of the keys and from when each signs.
    List(KeysArgs),
}

/// Where the keys are.
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// The store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// What they are encrypted with.
    #[command(flatten)]
    pub seal: SealArgs,
}

/// What keys are encrypted with in the store.
#[derive(Debug, Clone, Default, Args)]
pub struct SealArgs {
    /// Encrypts the keys in the store: at least 32 random bytes in hexadecimal or base64. Once given it is needed for
    /// ever.
    #[arg(long, env = "MESSENGER_KEY_ENCRYPTION_SECRET", hide_env_values = true)]
    pub key_encryption_secret: Option<Secret>,
    /// The same, read from a file.
    #[arg(long, env = "MESSENGER_KEY_ENCRYPTION_SECRET_FILE")]
    pub key_encryption_secret_file: Option<PathBuf>,
}

impl SealArgs {
    /// None when no secret is given.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is weak or cannot be read.
    pub fn seal(&self) -> Result<Option<Seal>> {
        let secret = self.key_encryption_secret.as_ref().map(Secret::expose);
        Seal::from_settings(secret, self.key_encryption_secret_file.as_ref())
    }
}

impl fmt::Display for SealArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.key_encryption_secret.is_some() { "(hidden)" } else { "(not set)" };
        let file =
            self.key_encryption_secret_file.as_ref().map_or_else(|| "(not set)".into(), |file| file.to_string_lossy());
        writeln!(f, "key-encryption-secret = {secret}")?;
        writeln!(f, "key-encryption-secret-file = {file}")
    }
}

impl KeysCommand {
    /// Does it.
    ///
    /// # Errors
    /// VALIDATION_FAILED when there is no store, or its keys are encrypted with another secret; UNAVAILABLE.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Rotate { now, keys } => {
                let (replaces, said) = if now { (Replaces::All, "all") } else { (Replaces::InTurn, "in turn") };
                let (kid, signs_from) = keys.open().await?.rotate(replaces).await?;
                tracing::info!(target: AUDIT, action = "keys.rotated", outcome = "done", key.id = kid, replaces = said);
                println!("{kid} signs from {}", shown(signs_from));
            }
            Self::List(keys) => {
                for (kid, signs_from) in keys.open().await?.list() {
                    println!("{kid} signs from {}", shown(signs_from));
                }
            }
        }
        Ok(())
    }
}

impl KeysArgs {
    async fn open(&self) -> Result<KeyRing> {
        let (store, seal) = (existing_store(&self.store).await?, self.seal.seal()?);
        Ok(KeyRing::open(store, Arc::new(SystemClock), seal).await?.0)
    }
}

/// What to do with users.
#[derive(Debug, Clone, Subcommand)]
pub enum UsersCommand {
    /// Keep a user out: every session and connection of it ends, and none begins.
    Deactivate(UserArgs),
    /// Let a deactivated user in again.
    Reactivate(UserArgs),
}

/// Which user.
#[derive(Debug, Clone, Args)]
pub struct UserArgs {
    /// The user's id.
    pub user: UserId,
    /// Where the users are.
    #[command(flatten)]
    pub store: StoreArgs,
}

impl UsersCommand {
    /// Does it.
    ///
    /// # Errors
    /// VALIDATION_FAILED when there is no store, NOT_FOUND, UNAVAILABLE.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Deactivate(UserArgs { user, store }) => {
                existing_store(&store).await?.deactivate(user, SystemClock.now()).await?;
                Audit::of("user.deactivated").subject(user).done();
            }
            Self::Reactivate(UserArgs { user, store }) => {
                existing_store(&store).await?.reactivate(user).await?;
                Audit::of("user.reactivated").subject(user).done();
            }
        }
        Ok(())
    }
}

/// A mistyped folder would get a new store, and the one that was meant would keep what it has.
async fn existing_store(store: &StoreArgs) -> Result<Store> {
    let location = store.location()?;
    if let Location::Sqlite(folder) = &location
        && !Location::sqlite_file(folder, CONTEXT).exists()
    {
        let line = format!("--data-dir (MESSENGER_DATA_DIR): there are no users in {}", folder.display());
        return Err(Error::new(ErrorKind::ValidationFailed, line));
    }
    open_store(&location).await
}

fn shown(signs_from: Timestamp) -> String {
    if signs_from == Timestamp::default() { "the beginning".to_owned() } else { signs_from.to_string() }
}
