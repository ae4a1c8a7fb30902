//! Temporary PostgreSQL databases on the server the test run was given.

use std::{future::Future, panic::resume_unwind};

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// The variable that names the server: a superuser's URL.
pub const SERVER_URL: &str = "MESSENGER_TEST_POSTGRES_URL";

/// Makes an empty database and gives its URL. One that is not dropped goes with the server: `scripts/test` throws that
/// away.
///
/// # Errors
/// When no server was given or it cannot be reached.
pub async fn create() -> anyhow::Result<String> {
    let name = format!("test_{}", Uuid::new_v4().simple());
    let server = on_server(format!("CREATE DATABASE {name}")).await?;
    let (base, _) = server.rsplit_once('/').context("the server's URL names a database")?;
    Ok(format!("{base}/{name}"))
}

/// Drops the database at this URL, whoever is connected to it.
///
/// # Errors
/// When there is none, or the server cannot be reached.
pub async fn drop(url: &str) -> anyhow::Result<()> {
    let (_, name) = url.rsplit_once('/').context("a URL with a database")?;
    on_server(format!("DROP DATABASE {name} WITH (FORCE)")).await.map(|_| ())
}

/// Runs a test on a database of its own, which is dropped afterwards, also when the test fails.
///
/// # Panics
/// As the test does; without a server.
pub async fn with<Test: Future<Output = ()> + Send + 'static>(test: impl FnOnce(String) -> Test) {
    let url = create().await.expect("a database");
    let outcome = tokio::spawn(test(url.clone())).await;
    drop(&url).await.expect("dropped");
    if let Err(failed) = outcome {
        resume_unwind(failed.into_panic());
    }
}

async fn on_server(sql: String) -> anyhow::Result<String> {
    let server = std::env::var(SERVER_URL).with_context(|| format!("{SERVER_URL} is not set: run scripts/test"))?;
    let mut session = PgConnection::connect(&server).await.context("the test server cannot be reached")?;
    session.execute(AssertSqlSafe(sql)).await?;
    session.close().await?;
    Ok(server)
}
