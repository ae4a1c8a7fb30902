//! A database of either engine, for a context whose statements are nearly all the same text on both.

use std::fmt;

use messenger_core::Error;
use sqlx::Sqlite;

use crate::{
    Location, Migration, PostgresPool, SqlitePools, Statement, error, migrate_postgres, open_sqlite,
    postgres_pool::{OnPostgres, PostgresTransaction},
    statement::{OnSqlite, Sql},
};

/// The database of one context.
///
/// ```ignore
/// let row: Option<(Uuid, String)> =
///     database.read("SELECT id, name FROM city WHERE id = $1").bind(id).fetch_optional().await?;
///
/// let mut tx = database.begin().await?;
/// let sizes: Vec<(i64,)> = tx
///     .statement(Sql {
///         postgres: "SELECT size FROM city WHERE id = ANY($1) FOR UPDATE",
///         sqlite: "SELECT size FROM city WHERE id IN (SELECT unhex(value, '-') FROM json_each($1))",
///     })
///     .bind(List(ids))
///     .fetch_all()
///     .await?;
/// tx.statement("UPDATE city SET size = size + 1 WHERE id = $1").bind(id).execute().await?;
/// tx.commit().await?;
/// ```
#[derive(Debug, Clone)]
pub enum Database {
    /// A schema of a PostgreSQL database.
    Postgres(PostgresPool),
    /// A file.
    Sqlite(SqlitePools),
}

impl Database {
    /// Opens what `context` has at a location and brings its schema up to date. `connections_max` is for PostgreSQL.
    ///
    /// # Errors
    /// One line for the operator when it cannot be used or its schema is newer than the migrations.
    pub async fn open(
        location: &Location,
        context: &'static str,
        migrations: Migrations,
        connections_max: u32,
    ) -> Result<Self, Error> {
        Ok(match location {
            Location::Postgres(url) => {
                let options = migrate_postgres(url, context, migrations.postgres).await?;
                Self::Postgres(PostgresPool::new(options, connections_max))
            }
            Location::Sqlite(folder) => {
                let file = Location::sqlite_file(folder, context);
                Self::Sqlite(open_sqlite(&file, migrations.sqlite).await?)
            }
        })
    }

    /// A statement that only reads, on the last committed state.
    pub fn read(&self, sql: impl Into<Sql>) -> Statement<'_> {
        match self {
            Self::Postgres(pool) => Statement::on_postgres(sql.into(), OnPostgres::Pool(pool)),
            Self::Sqlite(pools) => Statement::on_sqlite(sql.into(), OnSqlite::Pool(&pools.reader)),
        }
    }

    /// A statement that is a whole transaction.
    pub fn write(&self, sql: impl Into<Sql>) -> Statement<'_> {
        match self {
            Self::Postgres(pool) => Statement::on_postgres(sql.into(), OnPostgres::Pool(pool)),
            Self::Sqlite(pools) => Statement::on_sqlite(sql.into(), OnSqlite::Pool(&pools.writer)),
        }
    }

    /// Begins a transaction: READ COMMITTED in PostgreSQL, the only writer in SQLite. To be called inside of
    /// [`run()`](crate::run()), like all that is done with it.
    ///
    /// # Errors
    /// As [`error()`] has them.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        match self {
            Self::Postgres(pool) => pool.begin().await.map(Transaction::Postgres),
            Self::Sqlite(pools) => {
                pools.writer.begin_with("BEGIN IMMEDIATE").await.map(Transaction::Sqlite).map_err(error)
            }
        }
    }
}

/// The steps of a context's schema on each engine.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// On PostgreSQL.
    pub postgres: &'static [Migration],
    /// On SQLite.
    pub sqlite: &'static [Migration],
}

/// A transaction on either engine. Undone when it is dropped.
pub enum Transaction {
    /// On PostgreSQL.
    Postgres(PostgresTransaction),
    /// On SQLite.
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

impl Transaction {
    /// A step of it.
    pub fn statement(&mut self, sql: impl Into<Sql>) -> Statement<'_> {
        match self {
            Self::Postgres(tx) => Statement::on_postgres(sql.into(), OnPostgres::Transaction(tx)),
            Self::Sqlite(tx) => Statement::on_sqlite(sql.into(), OnSqlite::Transaction(tx)),
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// UNAVAILABLE also when it is unknown whether that happened.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Postgres(tx) => tx.commit().await,
            Self::Sqlite(tx) => tx.commit().await.map_err(error),
        }
    }

    /// Undoes it, and waits for that.
    ///
    /// # Errors
    /// As [`error()`] has them.
    pub async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Postgres(tx) => tx.rollback().await,
            Self::Sqlite(tx) => tx.rollback().await.map_err(error),
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
