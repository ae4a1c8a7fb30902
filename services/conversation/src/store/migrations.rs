//! The schema of this context, step by step.

use messenger_db::Migration;

pub(super) const POSTGRES: &[Migration] = &[Migration {
    version: 1,
    name: "conversations",
    sql: include_str!("../../../../migrations/conversation/postgres/0001_conversations.sql"),
}];

pub(super) const SQLITE: &[Migration] = &[Migration {
    version: 1,
    name: "conversations",
    sql: include_str!("../../../../migrations/conversation/sqlite/0001_conversations.sql"),
}];
