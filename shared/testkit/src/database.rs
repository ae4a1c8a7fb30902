//! Temporary PostgreSQL databases on the server the test run was given.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// The variable that names the server: a superuser's URL.
pub const SERVER_URL: &str = "MESSENGER_TEST_POSTGRES_URL";

/// Makes an empty database and gives its URL. It goes with the server: `scripts/test` throws that away.
///
/// # Errors
/// When no server was given or it cannot be reached.
pub async fn create() -> anyhow::Result<String> {
    let server = std::env::var(SERVER_URL).with_context(|| format!("{SERVER_URL} is not set: run scripts/test"))?;
    let name = format!("test_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&server).await.context("the test server cannot be reached")?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    let (base, _) = server.rsplit_once('/').context("the server's URL names a database")?;
    Ok(format!("{base}/{name}"))
}
