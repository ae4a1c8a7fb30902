//! Opens, tunes and migrates the store of one context on PostgreSQL or SQLite, and sorts driver errors.
//!
//! No database future may be dropped: sqlx 0.9 leaves a connection inside a transaction when `begin` is cancelled, and the
//! next acknowledged write is lost. Transactions go through [`run()`]; the pools throw away what breaks the rule. Only a
//! limit may end one: [`PostgresPool`] closes the session with it.

mod database;
mod error;
mod list;
mod location;
mod migration;
mod postgres;
mod postgres_pool;
mod run;
mod sqlite;
mod statement;

pub use database::{Database, Migrations, Transaction};
pub use error::error;
pub use list::List;
pub use location::{Location, StoreArgs};
pub use migration::Migration;
pub use postgres::{migrate_postgres, postgres_options};
pub use postgres_pool::{PostgresPool, PostgresTransaction};
pub use run::run;
pub use sqlite::{SqlitePools, open_sqlite};
pub use statement::{Row, Sql, Statement};
