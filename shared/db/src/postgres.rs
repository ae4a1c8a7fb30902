//! PostgreSQL: one schema per context in one database.

use std::{str::FromStr as _, time::Duration};

use messenger_core::{Error, ErrorKind};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::{
    Migration,
    error::said,
    migration::{failure, migrator},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle sessions older than this are pinged before use: the server may have been restarted meanwhile.
pub(crate) const PING_AFTER: Duration = Duration::from_secs(1);

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

/// Migrates the schema of `context` (made if it is missing) and opens a pool of at most `connections_max` sessions on
/// it. Waiting for a session is bounded by 2 s.
///
/// # Errors
/// As [`migrate_postgres`].
pub async fn open_postgres(
    url: &str,
    context: &'static str,
    migrations: &[Migration],
    connections_max: u32,
) -> Result<PgPool, Error> {
    let options = migrate_postgres(url, context, migrations).await?;
    Ok(PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|session, state| {
            Box::pin(async move {
                if state.idle_for > PING_AFTER {
                    session.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|session, _| Box::pin(is_outside_transaction(session)))
        .connect_lazy_with(options))
}

/// The time of the transaction is that of the statement only when the statement is the whole transaction. Costs a round
/// trip after the answer; `ROLLBACK` would do as well, but makes the server log a warning each time.
async fn is_outside_transaction(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Unprepared: Bind and Execute are two messages, each with a time of its own.
    let row = sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(session).await?;
    let is_outside: bool = row.try_get(0)?;
    if !is_outside {
        tracing::error!("a session came back to the pool inside a transaction and was closed");
    }
    Ok(is_outside)
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
