//! A statement for either engine: `$1` and the rest are the same for both drivers.

use std::fmt;

use messenger_core::Error;
use sqlx::{
    Encode, Postgres, Sqlite, SqlitePool, Type,
    pool::MaybePoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{
    error,
    postgres_pool::{OnPostgres, answered},
};

/// What a statement says on each engine. A plain text says the same on both.
#[derive(Debug, Clone, Copy)]
pub struct Sql {
    /// On PostgreSQL.
    pub postgres: &'static str,
    /// On SQLite.
    pub sqlite: &'static str,
}

impl From<&'static str> for Sql {
    fn from(both: &'static str) -> Self {
        Self { postgres: both, sqlite: both }
    }
}

/// A row of either engine as what it stands for: a tuple, or what derives [`sqlx::FromRow`].
pub trait Row: Send + Unpin + for<'r> sqlx::FromRow<'r, PgRow> + for<'r> sqlx::FromRow<'r, SqliteRow> {}

impl<T> Row for T where T: Send + Unpin + for<'r> sqlx::FromRow<'r, PgRow> + for<'r> sqlx::FromRow<'r, SqliteRow> {}

/// A statement, where it is to be run. Its errors are those of [`error()`].
#[must_use = "it does nothing until it is run"]
pub struct Statement<'c>(Bound<'c>);

enum Bound<'c> {
    Postgres(Query<'static, Postgres, PgArguments>, OnPostgres<'c>),
    Sqlite(Query<'static, Sqlite, SqliteArguments>, OnSqlite<'c>),
}

pub(crate) enum OnSqlite<'c> {
    Pool(&'c SqlitePool),
    Transaction(&'c mut sqlx::Transaction<'static, Sqlite>),
}

impl<'c> OnSqlite<'c> {
    async fn connection(self) -> Result<MaybePoolConnection<'c, Sqlite>, Error> {
        Ok(match self {
            Self::Pool(pool) => pool.acquire().await.map_err(error)?.into(),
            Self::Transaction(tx) => (&mut **tx).into(),
        })
    }
}

impl<'c> Statement<'c> {
    pub(crate) fn on_postgres(sql: Sql, on: OnPostgres<'c>) -> Self {
        Self(Bound::Postgres(sqlx::query(sql.postgres), on))
    }

    pub(crate) fn on_sqlite(sql: Sql, on: OnSqlite<'c>) -> Self {
        Self(Bound::Sqlite(sqlx::query(sql.sqlite), on))
    }

    /// The value of the next `$`.
    pub fn bind<'v, V>(self, value: V) -> Self
    where
        V: Encode<'v, Postgres> + Type<Postgres> + Encode<'v, Sqlite> + Type<Sqlite>,
    {
        Self(match self.0 {
            Bound::Postgres(query, on) => Bound::Postgres(query.bind(value), on),
            Bound::Sqlite(query, on) => Bound::Sqlite(query.bind(value), on),
        })
    }

    /// For what it does: the number of rows it did it to.
    ///
    /// # Errors
    /// As [`error()`] has them; UNAVAILABLE also when no session is free within 2 s or the answer takes over 7 s.
    pub async fn execute(self) -> Result<u64, Error> {
        match self.0 {
            Bound::Postgres(query, mut on) => {
                let mut session = on.session().await?;
                let outcome = answered(query.execute(&mut session.connection)).await;
                on.end(session, outcome).map(|done| done.rows_affected())
            }
            Bound::Sqlite(query, on) => {
                query.execute(&mut *on.connection().await?).await.map(|done| done.rows_affected()).map_err(error)
            }
        }
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`error()`] has them; UNAVAILABLE also when no session is free within 2 s or the answer takes over 7 s.
    pub async fn fetch_all<R: Row>(self) -> Result<Vec<R>, Error> {
        match self.0 {
            Bound::Postgres(query, mut on) => {
                let mut session = on.session().await?;
                let query = query.try_map(|row| R::from_row(&row));
                let outcome = answered(query.fetch_all(&mut session.connection)).await;
                on.end(session, outcome)
            }
            Bound::Sqlite(query, on) => {
                let query = query.try_map(|row| R::from_row(&row));
                query.fetch_all(&mut *on.connection().await?).await.map_err(error)
            }
        }
    }

    /// The row, if there is one.
    ///
    /// # Errors
    /// As [`error()`] has them; UNAVAILABLE also when no session is free within 2 s or the answer takes over 7 s.
    pub async fn fetch_optional<R: Row>(self) -> Result<Option<R>, Error> {
        match self.0 {
            Bound::Postgres(query, mut on) => {
                let mut session = on.session().await?;
                let query = query.try_map(|row| R::from_row(&row));
                let outcome = answered(query.fetch_optional(&mut session.connection)).await;
                on.end(session, outcome)
            }
            Bound::Sqlite(query, on) => {
                let query = query.try_map(|row| R::from_row(&row));
                query.fetch_optional(&mut *on.connection().await?).await.map_err(error)
            }
        }
    }

    /// The row there is.
    ///
    /// # Errors
    /// As [`Statement::fetch_optional`]; INTERNAL when there is none.
    pub async fn fetch_one<R: Row>(self) -> Result<R, Error> {
        self.fetch_optional().await?.ok_or_else(|| error(sqlx::Error::RowNotFound))
    }
}

impl fmt::Debug for Statement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").finish_non_exhaustive()
    }
}
