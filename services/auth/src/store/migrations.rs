//! The steps of this context's schema.

use messenger_db::Migration;

pub const POSTGRES: [Migration; 2] = [
    Migration {
        version: 1,
        name: "identity",
        sql: include_str!("../../../../migrations/auth/postgres/0001_identity.sql"),
    },
    Migration {
        version: 2,
        name: "other systems",
        sql: include_str!("../../../../migrations/auth/postgres/0002_other_systems.sql"),
    },
];

pub const SQLITE: [Migration; 2] = [
    Migration {
        version: 1,
        name: "identity",
        sql: include_str!("../../../../migrations/auth/sqlite/0001_identity.sql"),
    },
    Migration {
        version: 2,
        name: "other systems",
        sql: include_str!("../../../../migrations/auth/sqlite/0002_other_systems.sql"),
    },
];
