//! Persistence of this context, on PostgreSQL or SQLite: where their statements differ both stand side by side, and one
//! contract suite runs on each.

mod access;
mod foreign;
mod keys;
mod migrations;
mod sessions;
mod users;

use messenger_core::Result;
use messenger_db::{Database, Location};

pub use self::{foreign::Known, keys::Replaces};

/// Of this context: its schema in PostgreSQL, its file in SQLite.
pub const CONTEXT: &str = "auth";
const CONNECTIONS_MAX: u32 = 8;

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// One line for the operator when the store cannot be used or its schema is newer than this program.
pub async fn open(location: &Location) -> Result<Store> {
    let database = Database::open(location, CONTEXT, migrations::MIGRATIONS, CONNECTIONS_MAX).await?;
    Ok(Store { database })
}

/// What this context keeps. Besides the errors named, each function fails with UNAVAILABLE or INTERNAL.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}
