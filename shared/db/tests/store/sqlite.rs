//! SQLite.

use std::os::unix::fs::PermissionsExt as _;

use messenger_core::ErrorKind;
use messenger_db::{Location, SqlitePools, error, open_sqlite};
use sqlx::{Executor as _, SqlitePool};
use tempfile::TempDir;

use crate::{FIRST, INSERT, SECOND, assert_clear};

async fn opened(folder: &TempDir) -> SqlitePools {
    open_sqlite(&Location::sqlite_file(folder.path(), "auth"), &[FIRST]).await.expect("opened")
}

async fn insert(pool: &SqlitePool, id: i64, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT).bind(id).bind(email).bind(email).execute(pool).await.map(drop)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn migrations_run_once_also_when_started_twice_at_once() {
    let folder = folder();
    let (one, other, _third) = tokio::join!(opened(&folder), opened(&folder), opened(&folder));
    insert(&one.writer, 1, "a").await.expect("migrated");
    insert(&other.writer, 2, "b").await.expect("migrated");
    let file = Location::sqlite_file(folder.path(), "auth");
    let upgraded = open_sqlite(&file, &[FIRST, SECOND]).await.expect("upgraded");
    let ages: i64 = sqlx::query_scalar("SELECT sum(age) FROM account").fetch_one(&upgraded.reader).await.expect("kept");
    assert_eq!(ages, 14);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_a_failed_step_leaves_nothing() {
    let folder = folder();
    let file = Location::sqlite_file(folder.path(), "auth");
    let broken = messenger_db::Migration { version: 2, name: "broken", sql: "CREATE TABLE half (x); SELEC 1;" };
    let error = open_sqlite(&file, &[FIRST, broken]).await.expect_err("broken");
    assert_clear(&error, &["auth"]);
    let pools = open_sqlite(&file, &[FIRST, SECOND]).await.expect("the newer release");
    let half: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = 'half'")
        .fetch_one(&pools.reader)
        .await
        .expect("counted");
    assert_eq!(half, 0);
    let error = open_sqlite(&file, &[FIRST]).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::ValidationFailed);
    assert_clear(&error, &["auth", "version 2", "newer release"]);
}

#[tokio::test]
async fn a_commit_is_on_disk_and_readers_only_read() {
    let folder = folder();
    let pools = opened(&folder).await;
    let text: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&pools.writer).await.expect("mode");
    assert_eq!(text, "wal");
    for (pragma, value) in [("PRAGMA synchronous", 2_i64), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", 5_000)] {
        assert_eq!(
            sqlx::query_scalar::<_, i64>(pragma).fetch_one(&pools.writer).await.expect(pragma),
            value,
            "{pragma}"
        );
    }
    let refused = insert(&pools.reader, 1, "a").await.expect_err("read-only");
    assert_eq!(error(refused).kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_said_so() {
    let folder = folder();
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "no folder").expect("written");
    let error = open_sqlite(&Location::sqlite_file(&blocked, "auth"), &[FIRST]).await.expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::ValidationFailed);
    assert_clear(&error, &["auth.db", "--data-dir"]);
    let error = open_sqlite(&blocked, &[FIRST]).await.expect_err("no database");
    assert_clear(&error, &["blocked", "--data-dir"]);
}

#[tokio::test]
async fn errors_are_told_apart() {
    let folder = folder();
    let pools = opened(&folder).await;
    insert(&pools.writer, 1, "a").await.expect("stored");
    let taken = insert(&pools.writer, 1, "b").await.expect_err("the id is taken");
    assert_eq!(error(taken).kind(), ErrorKind::Internal);
    let statement = pools.writer.execute("SELEC 1").await.expect_err("no statement");
    assert_eq!(error(statement).kind(), ErrorKind::Internal);

    let second = opened(&folder).await;
    let held = pools.writer.begin_with("BEGIN IMMEDIATE").await.expect("the write lock");
    second.writer.execute("PRAGMA busy_timeout = 0").await.expect("set");
    let busy = insert(&second.writer, 3, "c").await.expect_err("somebody else writes");
    assert_eq!(error(busy).kind(), ErrorKind::Unavailable);
    held.rollback().await.expect("given back");
    insert(&second.writer, 3, "c").await.expect("stored");
}

#[tokio::test]
async fn a_process_that_ends_well_leaves_files_that_are_whole() {
    let folder = folder();
    let pools = opened(&folder).await;
    insert(&pools.writer, 1, "a").await.expect("stored");
    Location::Sqlite(folder.path().to_owned()).settle().await;
    let file = Location::sqlite_file(folder.path(), "auth");
    assert_eq!(std::fs::metadata(file.with_extension("db-wal")).expect("still open").len(), 0);
    let copy = folder.path().join("copy.db");
    std::fs::copy(&file, &copy).expect("copied");
    let copy = open_sqlite(&copy, &[FIRST]).await.expect("whole");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&copy.reader).await.expect("kept");
    assert_eq!(count, 1);
    // Nobody is harmed who goes on.
    insert(&pools.writer, 2, "b").await.expect("stored");
}

/// A file whose pages are not its own, and the log of a process that did not end: nobody works on it.
#[tokio::test]
async fn row_82_a_damaged_file_is_refused() {
    let folder = folder();
    let file = Location::sqlite_file(folder.path(), "auth");
    let pools = opened(&folder).await;
    for id in 0..2_000 {
        insert(&pools.writer, id, &format!("somebody with a long address {id}")).await.expect("stored");
    }
    pools.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.expect("all pages in the file");
    insert(&pools.writer, 2_000, "in the log").await.expect("stored");
    let copy = folder.path().join("copy.db");
    let mut bytes = std::fs::read(&file).expect("the file");
    // From the second page on each is where another belongs.
    let (first, rest) = bytes.split_at_mut(4_096);
    rest.rotate_left(4_096);
    std::fs::write(&copy, [first, rest].concat()).expect("copied");
    std::fs::copy(file.with_extension("db-wal"), copy.with_extension("db-wal")).expect("copied");
    let error = open_sqlite(&copy, &[FIRST]).await.expect_err("damaged");
    assert_clear(&error, &["copy.db", "--data-dir", "cannot be used"]);
    opened(&folder).await;
}

#[tokio::test]
async fn a_folder_that_is_made_is_for_its_user_alone() {
    let folder = folder();
    let made = folder.path().join("data");
    open_sqlite(&made.join("test.db"), &[FIRST]).await.expect("opens");
    let mode = std::fs::metadata(&made).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}
