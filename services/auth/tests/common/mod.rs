//! A place for a store, empty at first and gone afterwards, on either engine.

use std::sync::Arc;

use messenger_auth::{open_store, store::Store};
use messenger_db::Location;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

const SERVER_URL: &str = "MESSENGER_TEST_POSTGRES_URL";

pub enum Place {
    Sqlite(TempDir),
    Postgres { server: String, name: String },
}

impl Place {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder"))
    }

    pub async fn postgres() -> Self {
        let server = std::env::var(SERVER_URL).expect("MESSENGER_TEST_POSTGRES_URL names a server: run scripts/test");
        let name = format!("test_{}", Uuid::new_v4().simple());
        let place = Self::Postgres { server, name: name.clone() };
        place.on_server(format!("CREATE DATABASE {name}")).await;
        place
    }

    /// As one process does; may be opened several times.
    pub async fn open(&self) -> Arc<dyn Store> {
        open_store(&self.location()).await.expect("the store opens")
    }

    pub fn location(&self) -> Location {
        match self {
            Self::Sqlite(folder) => Location::Sqlite(folder.path().to_owned()),
            Self::Postgres { server, name } => {
                let (base, _) = server.rsplit_once('/').expect("the server's URL names a database");
                Location::Postgres(format!("{base}/{name}"))
            }
        }
    }

    pub async fn remove(&self) {
        if let Self::Postgres { name, .. } = self {
            self.on_server(format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    async fn on_server(&self, sql: String) {
        let Self::Postgres { server, .. } = self else { return };
        let mut session = PgConnection::connect(server).await.expect("the test server answers");
        session.execute(AssertSqlSafe(sql)).await.expect("the statement is valid");
        session.close().await.expect("closed");
    }
}
