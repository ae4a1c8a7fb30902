//! What an operator does with the journal instead of running it.

use clap::Subcommand;
use messenger_core::Result;
use messenger_db::StoreArgs;

use crate::open_store;

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
    /// As [`open_store`]; UNAVAILABLE when the store goes away.
    pub async fn run(self) -> Result<()> {
        match self {
            Self::NewIdentity(store) => {
                open_store(&store.location()?).await?.renew_identity().await?;
                tracing::info!("the journal has a new identity: clients fetch anew");
            }
        }
        Ok(())
    }
}
