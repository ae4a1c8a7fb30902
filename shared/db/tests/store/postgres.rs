//! PostgreSQL.

use std::{future::poll_fn, pin::pin, task::Poll};

use futures_util::future::join_all;
use messenger_core::ErrorKind;
use messenger_db::{StatementPool, error, migrate_postgres, open_postgres, violates};
use messenger_testkit::database;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _};

use crate::{FIRST, INSERT, SECOND, assert_clear};

async fn insert(pool: &PgPool, id: i64, email: &str) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT).bind(id).bind(email).bind(email).execute(pool).await.map(drop)
}

#[tokio::test]
async fn migrations_run_once_also_when_started_twice_at_once() {
    database::with(|url| async move {
        let (one, other) =
            tokio::join!(open_postgres(&url, "auth", &[FIRST], 2), open_postgres(&url, "auth", &[FIRST], 2));
        let (one, _other) = (one.expect("first"), other.expect("second"));
        insert(&one, 1, "a").await.expect("migrated");
        let upgraded = open_postgres(&url, "auth", &[FIRST, SECOND], 2).await.expect("upgraded");
        let row = upgraded.fetch_one("SELECT age, current_schema()::text FROM account").await.expect("kept");
        assert_eq!((row.get::<i64, _>(0), row.get::<&str, _>(1)), (7, "auth"));
    })
    .await;
}

#[tokio::test]
async fn contexts_do_not_share_tables() {
    database::with(|url| async move {
        let auth = open_postgres(&url, "auth", &[FIRST], 2).await.expect("auth");
        let message = open_postgres(&url, "message", &[FIRST, SECOND], 2).await.expect("message");
        insert(&auth, 1, "a").await.expect("stored");
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(&message).await.expect("counted");
        assert_eq!(count, 0);
    })
    .await;
}

#[tokio::test]
async fn a_newer_or_another_schema_is_refused() {
    database::with(|url| async move {
        open_postgres(&url, "auth", &[FIRST, SECOND], 2).await.expect("the newer release");
        let error = open_postgres(&url, "auth", &[FIRST], 2).await.expect_err("newer");
        assert_eq!(error.kind(), ErrorKind::ValidationFailed);
        assert_clear(&error, &["auth", "version 2", "newer release"]);
        let changed = messenger_db::Migration { sql: "SELECT 1", ..FIRST };
        let error = open_postgres(&url, "auth", &[changed, SECOND], 2).await.expect_err("another text");
        assert_clear(&error, &["auth", "migration 1"]);
        // The lock was given back by both.
        open_postgres(&url, "auth", &[FIRST, SECOND], 2).await.expect("the newer release again");
    })
    .await;
}

#[tokio::test]
async fn a_role_without_rights_on_the_database_uses_its_own_schema() {
    database::with(|url| async move {
        let (_, role) = url.rsplit_once('/').expect("a database, named as nobody else is");
        let mut owner = PgConnection::connect(&url).await.expect("superuser");
        let sql = format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA auth AUTHORIZATION {role};");
        owner.execute(AssertSqlSafe(sql)).await.expect("role");
        let (_, server) = url.rsplit_once('@').expect("user@host");
        let opened = open_postgres(&format!("postgres://{role}@{server}"), "auth", &[FIRST], 2).await;
        let refused = open_postgres(&format!("postgres://{role}@{server}"), "message", &[FIRST], 2).await;
        if let Ok(pool) = &opened {
            pool.close().await;
        }
        let sql = format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role};");
        owner.execute(AssertSqlSafe(sql)).await.expect("cleaned");
        opened.expect("its own schema");
        assert_clear(&refused.expect_err("none of its own"), &["message", "permission denied"]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_said_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let url = format!("postgres://me:hunter2@127.0.0.1:{port}/chat");
    let error = open_postgres(&url, "auth", &[FIRST], 2).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_clear(&error, &["PostgreSQL", &format!("127.0.0.1:{port}"), "DATABASE_URL"]);
    assert!(!format!("{error:?}").contains("hunter2"));
    let error = open_postgres("postgres://[", "auth", &[FIRST], 2).await.expect_err("no URL");
    assert_clear(&error, &["DATABASE_URL"]);
}

#[tokio::test]
async fn errors_are_told_apart() {
    database::with(|url| async move {
        let pool = open_postgres(&url, "auth", &[FIRST], 1).await.expect("opened");
        insert(&pool, 1, "a").await.expect("stored");
        let by_email = insert(&pool, 2, "a").await.expect_err("the address is taken");
        assert!(violates(&by_email, "account_email_key") && !violates(&by_email, "account_pkey"));
        let by_id = insert(&pool, 1, "b").await.expect_err("the id is taken");
        assert!(violates(&by_id, "account_pkey") && !violates(&by_id, "account"));
        assert_eq!(error(by_id).kind(), ErrorKind::Internal);

        let kind = async |sql: &'static str| error(pool.execute(sql).await.expect_err(sql)).kind();
        assert_eq!(kind("SELEC 1").await, ErrorKind::Internal);
        let held = pool.acquire().await.expect("the only session");
        let waited = pool.acquire().await.expect_err("none is left");
        assert_eq!(error(waited).kind(), ErrorKind::Unavailable);
        drop(held);
        assert_eq!(kind("SELECT pg_terminate_backend(pg_backend_pid())").await, ErrorKind::Unavailable);
        insert(&pool, 3, "c").await.expect("recovers by itself");
    })
    .await;
}

#[tokio::test]
async fn row_83_sessions_have_time_outs() {
    database::with(|url| async move {
        let pool = open_postgres(&url, "auth", &[FIRST], 1).await.expect("opened");
        let setting = async |name: &'static str| -> String {
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&pool).await.expect("a setting")
        };
        assert_eq!(setting("statement_timeout").await, "5s");
        assert_eq!(setting("lock_timeout").await, "2s");
        assert_eq!(setting("idle_in_transaction_session_timeout").await, "5s");
        assert_eq!(setting("application_name").await, "messenger-auth");
        assert_eq!(setting("search_path").await, "auth");
        let mut session = pool.acquire().await.expect("a session");
        session.execute("SET statement_timeout = '20ms'").await.expect("set");
        let slow = session.execute("SELECT pg_sleep(5)").await.expect_err("cancelled");
        assert_eq!(error(slow).kind(), ErrorKind::Unavailable);
    })
    .await;
}

/// Polls a future some times and drops it.
async fn cancel_after<F: Future>(future: F, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let is_ready = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if is_ready {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn row_77_a_cancelled_begin_loses_no_acknowledged_write() {
    database::with(|url| async move {
        let pool = open_postgres(&url, "auth", &[FIRST], 2).await.expect("opened");
        let mut acknowledged = 0_i64;
        for round in 0..400 {
            cancel_after(pool.begin(), round % 8).await;
            if insert(&pool, round as i64, &round.to_string()).await.is_ok() {
                acknowledged += 1;
            }
        }
        let mut other = PgConnection::connect(&url).await.expect("another session");
        let stored: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth.account").fetch_one(&mut other).await.expect("counted");
        assert_eq!((stored, acknowledged), (400, 400));
    })
    .await;
}

#[tokio::test]
async fn a_session_left_inside_a_transaction_is_not_used_again() {
    database::with(|url| async move {
        let pool = open_postgres(&url, "auth", &[FIRST], 1).await.expect("opened");
        let mut session = pool.acquire().await.expect("a session");
        session.execute("BEGIN").await.expect("begun behind the driver's back");
        drop(session);
        insert(&pool, 1, "a").await.expect("stored");
        let mut other = PgConnection::connect(&url).await.expect("another session");
        let stored: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth.account").fetch_one(&mut other).await.expect("counted");
        assert_eq!(stored, 1);
    })
    .await;
}

/// The session a statement ran on, and what was asked for.
async fn answered(pool: &StatementPool, number: i64) -> Result<(i32, i64), messenger_core::Error> {
    pool.fetch_one(sqlx::query_as("SELECT pg_backend_pid(), $1").bind(number)).await
}

#[tokio::test]
async fn only_a_session_whose_statement_succeeded_is_kept() {
    database::with(|url| async move {
        let options = migrate_postgres(&url, "auth", &[FIRST]).await.expect("migrated");
        let pool = StatementPool::new(options, 1);
        let (first, _) = answered(&pool, 1).await.expect("answers");
        assert_eq!(answered(&pool, 2).await.expect("answers"), (first, 2));
        pool.execute(sqlx::query(INSERT).bind(1_i64).bind("a").bind("a")).await.expect("stored");
        let taken = pool.execute(sqlx::query(INSERT).bind(2_i64).bind("a").bind("a")).await.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::Internal);

        let mut closed = first;
        for round in 0..10 {
            let (session, number) = answered(&pool, round).await.expect("answers");
            assert_eq!(number, round, "its own answer");
            assert_ne!(session, closed, "used again");
            closed = session;
            // Long enough not to be answered within that one poll.
            cancel_after(pool.execute(sqlx::query("SELECT pg_sleep(2)")), 1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_are_bounded_and_come_back() {
    database::with(|url| async move {
        let options = migrate_postgres(&url, "auth", &[FIRST]).await.expect("migrated");
        let pool = StatementPool::new(options, 2);
        // Connecting takes time on a busy machine; what follows waits for a session 2 s at most.
        answered(&pool, 0).await.expect("answers");
        let answers = join_all((0..50).map(|number| answered(&pool, number))).await;
        let mut used: Vec<_> = answers.into_iter().map(|answer| answer.expect("answers").0).collect();
        used.sort_unstable();
        used.dedup();
        assert!(used.len() <= 2, "{used:?}");

        let mut holder = PgConnection::connect(&url).await.expect("another session");
        holder.execute("BEGIN; LOCK TABLE auth.account IN ACCESS EXCLUSIVE MODE").await.expect("locked");
        let count = || pool.fetch_one::<(i64,)>(sqlx::query_as("SELECT count(*) FROM account"));
        for refused in join_all((0..5).map(|_| count())).await {
            assert_eq!(refused.expect_err("held").kind(), ErrorKind::Unavailable);
        }
        holder.execute("ROLLBACK").await.expect("released");
        assert_eq!(count().await.expect("answers"), (0,));
    })
    .await;
}
