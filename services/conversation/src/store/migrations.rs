//! The steps of this context's schema.

use messenger_db::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };

const POSTGRES: [Migration; 1] = [Migration {
    version: 1,
    name: "conversations",
    sql: include_str!("../../../../migrations/conversation/postgres/0001_conversations.sql"),
}];

const SQLITE: [Migration; 1] = [Migration {
    version: 1,
    name: "conversations",
    sql: include_str!("../../../../migrations/conversation/sqlite/0001_conversations.sql"),
}];
