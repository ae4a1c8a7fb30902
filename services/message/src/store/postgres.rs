//! The store on PostgreSQL.

mod append;
mod bugs;
mod feed;
mod history;
mod state;

use messenger_core::{Id, Result};
use messenger_db::{PostgresPool, migrate_postgres};
use uuid::Uuid;

use self::append::Writer;
use super::{CONTEXT, migrations};

/// Every statement of this context looks rows up by key: one plan does for all arguments, made once, and none may read a
/// whole table, not even one that was made when the table was small. Nothing is worth compiling.
const KEYED_PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

/// Sessions that read for users.
const SESSIONS_MAX: u32 = 10;
/// Four reads of memberships, a page and the head at once.
const FEED_SESSIONS_MAX: u32 = 6;

/// The store on PostgreSQL.
#[derive(Debug)]
pub(super) struct PostgresStore {
    pool: PostgresPool,
    /// Of the feed: however many read, it hears of what was stored.
    feed: PostgresPool,
    writer: Writer,
}

impl PostgresStore {
    /// Migrates the schema `message`.
    ///
    /// # Errors
    /// As [`migrate_postgres`].
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = migrate_postgres(url, CONTEXT, &migrations::POSTGRES).await?.options(KEYED_PLANS);
        let pool = |sessions_max| PostgresPool::new(options.clone(), sessions_max);
        Ok(Self { pool: pool(SESSIONS_MAX), feed: pool(FEED_SESSIONS_MAX), writer: Writer::new(options.clone()) })
    }
}

fn uuids<K>(ids: &[Id<K>]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
