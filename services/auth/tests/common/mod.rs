//! A store of a test's own, empty at first and gone afterwards, on either engine.

use messenger_auth::{open_store, store::Store};
use messenger_db::Location;
use messenger_testkit::database;
use tempfile::TempDir;

pub enum TestStore {
    Sqlite(TempDir),
    Postgres(String),
}

impl TestStore {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder"))
    }

    pub async fn postgres() -> Self {
        Self::Postgres(database::create().await.expect("a database"))
    }

    /// As one process does; may be opened several times.
    pub async fn open(&self) -> Store {
        open_store(&self.location()).await.expect("the store opens")
    }

    pub fn location(&self) -> Location {
        match self {
            Self::Sqlite(folder) => Location::Sqlite(folder.path().to_owned()),
            Self::Postgres(url) => Location::Postgres(url.clone()),
        }
    }

    pub async fn remove(&self) {
        if let Self::Postgres(url) = self {
            database::drop(url).await.expect("dropped");
        }
    }
}
