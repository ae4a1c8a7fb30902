//! A database of its own for each test, on either engine.

use messenger_conversation::store::Store;
use messenger_db::Location;

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
pub async fn open(location: &Location) -> Store {
    messenger_conversation::open_store(location).await.expect("the test's store opens")
}

pub async fn on_sqlite<Test: Future<Output = ()>>(test: impl FnOnce(Location) -> Test) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    test(Location::Sqlite(folder.path().to_owned())).await;
}

pub async fn on_postgres<Test>(test: impl FnOnce(Location) -> Test)
where
    Test: Future<Output = ()> + Send + 'static,
{
    messenger_testkit::database::with(|url| test(Location::Postgres(url))).await;
}
