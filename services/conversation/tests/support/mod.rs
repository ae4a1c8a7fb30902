//! A database of its own for each test, on either engine.

use std::sync::Arc;

use messenger_conversation::store::Store;
use messenger_db::Location;
use sqlx::{Connection as _, PgConnection, raw_sql};
use uuid::Uuid;

/// Makes one test for each engine out of `async fn name(location: Location)`.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::support::on_sqlite(super::$name).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::support::on_postgres(super::$name).await;
            })+
        }
    };
}
pub(crate) use on_both_stores;

/// One more process's view of the store.
pub async fn open(location: &Location) -> Arc<dyn Store> {
    messenger_conversation::open_store(location).await.expect("the test's store opens")
}

pub async fn on_sqlite<Test: Future<Output = ()>>(test: impl FnOnce(Location) -> Test) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    test(Location::Sqlite(folder.path().to_owned())).await;
}

/// The database is dropped also when the test fails.
pub async fn on_postgres<Test>(test: impl FnOnce(Location) -> Test)
where
    Test: Future<Output = ()> + Send + 'static,
{
    let server = std::env::var("MESSENGER_TEST_POSTGRES_URL")
        .expect("MESSENGER_TEST_POSTGRES_URL names a PostgreSQL server and a superuser (scripts/test starts one)");
    let database = format!("test_{}", Uuid::new_v4().simple());
    execute(&server, format!("CREATE DATABASE {database}")).await;
    let (base, _) = server.rsplit_once('/').expect("the URL ends in a database");
    let result = tokio::spawn(test(Location::Postgres(format!("{base}/{database}")))).await;
    execute(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await;
    if let Err(failed) = result {
        std::panic::resume_unwind(failed.into_panic());
    }
}

async fn execute(server: &str, statement: String) {
    let mut session = PgConnection::connect(server).await.expect("MESSENGER_TEST_POSTGRES_URL can be reached");
    raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut session).await.expect("a superuser");
}
