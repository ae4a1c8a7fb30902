//! SQLite: one file per context, one writer, several readers.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::Duration,
};

use messenger_core::{Error, ErrorKind};
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::Instant;

use crate::{
    Migration,
    migration::{failure, migrator},
};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long the end of a process waits for others that use a file.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);
/// `SQLITE_BUSY`.
const BUSY: &str = "5";
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const READERS_MAX: u32 = 4;
/// Rows a connection's thread is ahead of whoever reads them: more than a page has, so that it need not wait in between.
const ROWS_AHEAD_MAX: usize = 256;
/// Pages of 4 KiB in the log before they are copied into the file. Each copy waits for the disk twice, and hot pages are in
/// the log many times: by default, after 1,000, a busy writer copies them after every few commits.
const LOG_PAGES_MAX: &str = "8000";

/// The two ways into one file.
#[derive(Debug, Clone)]
pub struct SqlitePools {
    /// One connection; begin transactions with `BEGIN IMMEDIATE`.
    pub writer: SqlitePool,
    /// Read-only connections, each on the last committed state.
    pub reader: SqlitePool,
}

/// Opens the file (made if it is missing, with its folder, for this user alone) and migrates it. WAL, `synchronous=FULL`: a
/// commit is on disk.
///
/// # Errors
/// VALIDATION_FAILED with a line for the operator when the file cannot be used or its schema is newer than `migrations`.
pub async fn open_sqlite(file: &Path, migrations: &[Migration]) -> Result<SqlitePools, Error> {
    if let Some(folder) = file.parent() {
        // Hashes of passwords and keys that sign tokens are in it.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(file, error))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", LOG_PAGES_MAX)
        .row_buffer_size(ROWS_AHEAD_MAX)
        .foreign_keys(true);
    let has_log = fs::metadata(file.with_extension("db-wal")).is_ok_and(|log| log.len() > 0);
    let writer = connect(&options).await.map_err(|error| unusable(file, error))?;
    if has_log {
        check(&writer, file).await?;
    }
    migrate(&writer, file, migrations).await?;
    let reader = pool(READERS_MAX).connect_lazy_with(options.create_if_missing(false).read_only(true));
    Ok(SqlitePools { writer, reader })
}

/// What a process that ends well does last: copies the log of each file in the folder into the file. Then the files alone
/// are whole, and the next start has nothing to check. Where somebody still uses one its log stays, which does no harm.
pub(crate) async fn settle(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "db")) {
        let options = SqliteConnectOptions::new().filename(&file).busy_timeout(SETTLED_WITHIN);
        let settled = async {
            let mut connection = options.connect().await?;
            let (busy, _, _): (i64, i64, i64) =
                sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(busy != 0)
        };
        match settled.await {
            Ok(false) => {}
            Ok(true) => tracing::warn!(file = %file.display(), "sqlite: somebody uses the file: its log stays"),
            Err(error) => tracing::warn!(file = %file.display(), %error, "sqlite: the log stays beside its file"),
        }
    }
}

/// A log that was left is of a process that ended without a word, or of somebody who copied files: what came of it is read
/// once before it is trusted. Takes about a second for each GB.
async fn check(writer: &SqlitePool, file: &Path) -> Result<(), Error> {
    let checked: Result<String, _> = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(writer).await;
    match checked.map_err(|error| unusable(file, error))?.as_str() {
        "ok" => Ok(()),
        damage => {
            let damage = damage.replace('\n', " ");
            Err(unusable(file, io::Error::other(format!("it is damaged: {damage}"))))
        }
    }
}

/// SQLite does not wait for the lock that turns a new file to WAL, whatever the busy time-out: of two processes that make
/// one file at once, one is refused.
async fn connect(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let give_up = Instant::now() + BUSY_TIMEOUT;
    loop {
        match pool(1).connect_with(options.clone()).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(BUSY) && Instant::now() < give_up => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Connections live as long as the process: opening one costs far more than keeping it.
fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(is_outside_transaction(connection)))
}

/// After a failed write (a full disk, a broken one) SQLite has ended the transaction by itself, and the driver cannot end it
/// again: it would begin none on this connection any more.
async fn is_outside_transaction(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A roll-back that is on its way has ended when this is answered.
        connection.ping().await?;
    }
    let is_outside = !connection.is_in_transaction();
    if !is_outside {
        tracing::warn!("sqlite: a connection whose transaction had failed was closed");
    }
    Ok(is_outside)
}

/// In one transaction that holds the write lock from the start: sqlx's own lock does nothing on SQLite.
async fn migrate(writer: &SqlitePool, file: &Path, migrations: &[Migration]) -> Result<(), Error> {
    let context = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| unusable(file, error))?;
    let connection: &mut SqliteConnection = &mut tx;
    let mut migrator = migrator(migrations);
    migrator.dangerous_set_table_name("schema_migration");
    migrator.run_direct(None, connection, false).await.map_err(|error| failure(&context, migrations, error))?;
    tx.commit().await.map_err(|error| unusable(file, error))
}

fn unusable(file: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = format!("the data file {} (--data-dir) cannot be used: {cause}", file.display());
    Error::new(ErrorKind::ValidationFailed, message).with_cause(cause)
}
