//! The steps of this context's schema.

use messenger_db::Migration;

pub const POSTGRES: [Migration; 1] = [Migration {
    version: 1,
    name: "identity",
    sql: include_str!("../../../../migrations/auth/postgres/0001_identity.sql"),
}];

pub const SQLITE: [Migration; 1] = [Migration {
    version: 1,
    name: "identity",
    sql: include_str!("../../../../migrations/auth/sqlite/0001_identity.sql"),
}];
