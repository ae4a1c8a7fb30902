//! What an operator does with the journal instead of running it.

use clap::Subcommand;
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::{Location, StoreArgs};

use crate::{open_store, store::CONTEXT};

/// What to do with the journal.
#[derive(Debug, Clone, Subcommand)]
pub enum JournalCommand {
    /// Make it another journal, as after restoring a backup: no cursor of before is good any more, so that clients fetch
    /// anew instead of missing what the backup does not have. Processes that run on it end themselves.
    NewIdentity(StoreArgs),
}

impl JournalCommand {
    /// Does it.
    ///
    /// # Errors
    /// As [`open_store`]; VALIDATION_FAILED when there is no journal; UNAVAILABLE when the store goes away.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::NewIdentity(store) => {
                let location = store.location()?;
                check_exists(&location)?;
                open_store(&location).await?.renew_identity().await?;
                tracing::info!("the journal has a new identity: clients fetch anew");
            }
        }
        Ok(())
    }
}

/// A mistyped folder would get a new journal, and the one that was meant would keep its identity.
fn check_exists(location: &Location) -> Result<()> {
    match location {
        Location::Sqlite(folder) if !Location::sqlite_file(folder, CONTEXT).exists() => {
            let line = format!("--data-dir (MESSENGER_DATA_DIR): there is no journal in {}", folder.display());
            Err(Error::new(ErrorKind::ValidationFailed, line))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_without_a_journal_gets_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = StoreArgs { database_url: None, data_dir: folder.path().join("mistyped") };
        let error = JournalCommand::NewIdentity(store).run().await.expect_err("no journal");
        assert_eq!(error.kind(), ErrorKind::ValidationFailed);
        assert!(!folder.path().join("mistyped").exists());
    }
}
