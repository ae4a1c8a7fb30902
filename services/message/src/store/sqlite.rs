//! The store on SQLite: one writer connection, some readers. Lists go in as JSON, ids in it as hex; drafts as values.

mod append;
mod feed;
mod history;
mod multi_row;
mod state;

use std::path::Path;

use messenger_core::{Id, Result};
use messenger_db::{SqlitePools, open_sqlite};

use super::migrations;

/// The store on SQLite.
#[derive(Debug)]
pub(super) struct SqliteStore {
    pools: SqlitePools,
}

impl SqliteStore {
    /// Opens the file, made if it is missing, and migrates it.
    ///
    /// # Errors
    /// As [`open_sqlite`].
    pub(super) async fn open(file: &Path) -> Result<Self> {
        Ok(Self { pools: open_sqlite(file, &migrations::SQLITE).await? })
    }
}

/// A JSON list of ids.
fn ids<K>(ids: &[Id<K>]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid().simple().to_string()).collect();
    serde_json::json!(ids).to_string()
}
