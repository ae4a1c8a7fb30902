//! The steps of this context's schema.

use messenger_db::Migration;

pub const POSTGRES: [Migration; 2] = [
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../../../../migrations/message/postgres/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "refusals",
        sql: include_str!("../../../../migrations/message/postgres/0002_refusals.sql"),
    },
];

pub const SQLITE: [Migration; 2] = [
    Migration {
        version: 1,
        name: "journal",
        sql: include_str!("../../../../migrations/message/sqlite/0001_journal.sql"),
    },
    Migration {
        version: 2,
        name: "refusals",
        sql: include_str!("../../../../migrations/message/sqlite/0002_refusals.sql"),
    },
];
