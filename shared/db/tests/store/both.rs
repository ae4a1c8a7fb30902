//! What a context that has one text for both engines relies on: run on each.

use messenger_core::{ErrorKind, SessionId, UserId};
use messenger_db::{Database, List, Location, Migrations, Sql, Transaction};
use messenger_testkit::database;
use uuid::Uuid;

use crate::{FIRST, INSERT, SECOND};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$name(super::Location::Sqlite(folder.path().to_owned())).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::database::with(|url| super::$name(super::Location::Postgres(url))).await;
            })*
        }
    };
}

on_both!(
    rows_come_as_they_were_bound,
    each_engine_gets_its_own_text,
    lists_of_ids_and_of_words,
    a_transaction_is_done_or_undone,
    errors_are_ours,
);

async fn opened(location: &Location) -> Database {
    let migrations = Migrations { postgres: &[FIRST, SECOND], sqlite: &[FIRST, SECOND] };
    Database::open(location, "auth", migrations, 2).await.expect("opened")
}

async fn insert(database: &Database, id: i64, email: &str) -> u64 {
    database.write(INSERT).bind(id).bind(email).bind(email.to_owned()).execute().await.expect("stored")
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Account {
    email: String,
    age: i64,
}

async fn rows_come_as_they_were_bound(location: Location) {
    let database = opened(&location).await;
    for (id, email) in [(1, "a"), (2, "b")] {
        assert_eq!(insert(&database, id, email).await, 1);
    }
    let by_id = |id: i64| database.read("SELECT email, age FROM account WHERE id = $1").bind(id);
    let account: Option<Account> = by_id(2).fetch_optional().await.expect("read");
    assert_eq!(account, Some(Account { email: "b".to_owned(), age: 7 }));
    assert_eq!(by_id(3).fetch_optional::<Account>().await.expect("read"), None);
    assert_eq!(by_id(3).fetch_one::<Account>().await.expect_err("none").kind(), ErrorKind::Internal);
    let ids: Vec<(i64,)> = database.read("SELECT id FROM account ORDER BY id").fetch_all().await.expect("read");
    assert_eq!(ids, [(1,), (2,)]);
    let deleted = database.write("DELETE FROM account WHERE id < $1").bind(9_i64).execute().await.expect("deleted");
    assert_eq!(deleted, 2);
}

async fn each_engine_gets_its_own_text(location: Location) {
    let database = opened(&location).await;
    let name = Sql { postgres: "SELECT 'postgres', $1", sqlite: "SELECT 'sqlite', $1" };
    let expected = if matches!(location, Location::Postgres(_)) { "postgres" } else { "sqlite" };
    let said: (String, String) = database.read(name).bind("x").fetch_one().await.expect("read");
    assert_eq!(said, (expected.to_owned(), "x".to_owned()));
    let said: (String, String) = database.write(name).bind("y").fetch_one().await.expect("read");
    assert_eq!(said, (expected.to_owned(), "y".to_owned()));
    let mut tx = database.begin().await.expect("begun");
    let said: (String, String) = tx.statement(name).bind("z").fetch_one().await.expect("read");
    assert_eq!(said, (expected.to_owned(), "z".to_owned()));
    assert_eq!(matches!(tx, Transaction::Postgres(_)), expected == "postgres");
}

async fn lists_of_ids_and_of_words(location: Location) {
    let database = opened(&location).await;
    let ids = [0_u128, 1, u128::MAX].map(|id| UserId::from_uuid(Uuid::from_u128(id)));
    let among =
        Sql { postgres: "SELECT $1 = ANY($2)", sqlite: "SELECT $1 IN (SELECT unhex(value, '-') FROM json_each($2))" };
    for (id, expected) in [(0, true), (u128::MAX, true), (2, false)] {
        let list = List::from(&ids[..]);
        let found: (bool,) = database.read(among).bind(Uuid::from_u128(id)).bind(list).fetch_one().await.expect("read");
        assert_eq!(found.0, expected, "{id}");
    }
    let none = List::from(&[] as &[SessionId]);
    let found: (bool,) = database.read(among).bind(Uuid::nil()).bind(none).fetch_one().await.expect("read");
    assert!(!found.0);

    let each = Sql { postgres: "SELECT value FROM unnest($1) AS value", sqlite: "SELECT value FROM json_each($1)" };
    let words = ["it's", "\"quoted\"", "back\\slash", "Zürich 🦀", ""].map(|word| (word.to_owned(),));
    let list = List(words.iter().map(|(word,)| word.clone()).collect());
    let read: Vec<(String,)> = database.read(each).bind(list).fetch_all().await.expect("read");
    assert_eq!(read, words);
}

async fn count(database: &Database) -> i64 {
    let (count,): (i64,) = database.read("SELECT COUNT(*) FROM account").fetch_one().await.expect("counted");
    count
}

async fn a_transaction_is_done_or_undone(location: Location) {
    let database = opened(&location).await;
    let begun = async |id: i64| {
        let mut tx = database.begin().await.expect("begun");
        assert_eq!(tx.statement(INSERT).bind(id).bind("a").bind("a").execute().await.expect("stored"), 1);
        assert_eq!(count(&database).await, 0, "nobody else sees it");
        tx
    };
    begun(1).await.rollback().await.expect("undone");
    drop(begun(2).await);
    let tx = begun(3).await;
    tx.commit().await.expect("done");
    let ids: Vec<(i64,)> = database.read("SELECT id FROM account").fetch_all().await.expect("read");
    assert_eq!(ids, [(3,)]);
}

async fn errors_are_ours(location: Location) {
    let database = opened(&location).await;
    insert(&database, 1, "a").await;
    let taken = database.write(INSERT).bind(1_i64).bind("b").bind("b").execute().await.expect_err("the id is taken");
    assert_eq!(taken.kind(), ErrorKind::Internal);
    let absent = database.read("SELECT x FROM absent").fetch_all::<(i64,)>().await.expect_err("no such table");
    assert_eq!(absent.kind(), ErrorKind::Internal);
    let other_type = database.read("SELECT email FROM account").fetch_one::<(i64,)>().await.expect_err("a text");
    assert_eq!(other_type.kind(), ErrorKind::Internal);
    let mut held = Vec::new();
    let none_left = loop {
        match database.begin().await {
            Ok(tx) => held.push(tx),
            Err(error) => break error,
        }
    };
    assert_eq!(none_left.kind(), ErrorKind::Unavailable);
    let waited = database.write("DELETE FROM account").execute().await.expect_err("none is left");
    assert_eq!(waited.kind(), ErrorKind::Unavailable);
}

/// A transaction that reads before it writes would fail at its write if somebody wrote in between.
#[tokio::test]
async fn a_transaction_on_sqlite_is_the_only_writer_from_its_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().to_owned());
    let (one, other) = (opened(&location).await, opened(&location).await);
    other.write("PRAGMA busy_timeout = 0").fetch_one::<(i64,)>().await.expect("set");
    let held = one.begin().await.expect("begun");
    assert_eq!(other.begin().await.expect_err("somebody else writes").kind(), ErrorKind::Unavailable);
    held.rollback().await.expect("given back");
    other.begin().await.expect("begun").commit().await.expect("done");
    assert_eq!(
        one.read("INSERT INTO account VALUES (1, 'a', 'a', 1)").execute().await.expect_err("only reads").kind(),
        ErrorKind::Unavailable
    );
}
