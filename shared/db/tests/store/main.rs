//! What both engines promise, and what each promises alone. Needs `MESSENGER_TEST_POSTGRES_URL`.

mod both;
mod postgres;
mod postgres_pool;
mod sqlite;

use messenger_db::Migration;

const FIRST: Migration = Migration {
    version: 1,
    name: "user",
    sql: "CREATE TABLE account (id BIGINT PRIMARY KEY, email TEXT NOT NULL, city TEXT NOT NULL); \
          CREATE UNIQUE INDEX account_email_key ON account (email);",
};
const SECOND: Migration =
    Migration { version: 2, name: "more", sql: "ALTER TABLE account ADD COLUMN age BIGINT NOT NULL DEFAULT 7;" };
const INSERT: &str = "INSERT INTO account (id, email, city) VALUES ($1, $2, $3)";

/// One line an operator can act on.
fn assert_clear(error: &messenger_core::Error, words: &[&str]) {
    let message = error.message();
    assert!(!message.contains('\n'), "{message}");
    for word in words {
        assert!(message.contains(word), "{word} is missing: {message}");
    }
}
