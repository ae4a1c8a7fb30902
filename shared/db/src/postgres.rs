//! PostgreSQL: one schema per context in one database.

use std::{str::FromStr as _, time::Duration};

use messenger_core::{Error, ErrorKind};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::{
    Migration,
    error::said,
    migration::{failure, migrator},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to connect for `context`: its schema first in the search path, its name for `pg_stat_activity`, and time-outs
/// that free what a stuck session holds (statement 5 s, lock 2 s, idle in a transaction 5 s). A later `options` wins.
///
/// # Errors
/// VALIDATION_FAILED when the URL is none.
pub fn postgres_options(url: &str, context: &'static str) -> Result<PgConnectOptions, Error> {
    let invalid = |error: sqlx::Error| Error::invalid("DATABASE_URL", "is not a PostgreSQL URL").with_cause(error);
    let options = PgConnectOptions::from_str(url).map_err(invalid)?;
    Ok(options.application_name(&format!("messenger-{context}")).options([
        ("search_path", context),
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "5s"),
    ]))
}

/// Migrates the schema of `context` (made if it is missing); gives the [`postgres_options`] to connect to it with. On a
/// session of its own, without time-outs: migrations may take long, and others wait for the lock meanwhile.
///
/// # Errors
/// UNAVAILABLE with a line for the operator when the server cannot be reached; VALIDATION_FAILED when the schema is
/// newer than `migrations`.
pub async fn migrate_postgres(
    url: &str,
    context: &'static str,
    migrations: &[Migration],
) -> Result<PgConnectOptions, Error> {
    let options = postgres_options(url, context)?;
    let patient = options.clone().options([
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ]);
    let mut session = connect(&patient).await?;
    let result = migrate_on(&mut session, context, migrations).await;
    // Gives the lock back also after an error, which matters more than trouble with closing.
    let closed = session.close().await.map_err(crate::error);
    result.and(closed)?;
    Ok(options)
}

async fn migrate_on(session: &mut PgConnection, context: &str, migrations: &[Migration]) -> Result<(), Error> {
    let mut migrator = migrator(migrations);
    migrator.dangerous_set_table_name(format!("{context}.schema_migration"));
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(context)
        .fetch_one(&mut *session)
        .await
        .map_err(crate::error)?;
    // A role that owns its schema need not have the right to make others.
    if !exists {
        migrator.create_schema(context.to_owned());
    }
    migrator.run_direct(None, session, false).await.map_err(|error| failure(context, migrations, error))
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(unreachable(options, &said(&error)).with_cause(error)),
        Err(elapsed) => Err(unreachable(options, &elapsed.to_string()).with_cause(elapsed)),
    }
}

fn unreachable(options: &PgConnectOptions, why: &str) -> Error {
    let (host, port) = (options.get_host(), options.get_port());
    let message = format!("PostgreSQL at {host}:{port} (DATABASE_URL) cannot be used: {why}").replace('\n', " ");
    Error::new(ErrorKind::Unavailable, message)
}
