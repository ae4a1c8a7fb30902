//! What becomes of the sessions of a PostgreSQL.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use futures_util::future::join_all;
use messenger_core::{Error, ErrorKind};
use messenger_db::{Database, PostgresPool, migrate_postgres};
use messenger_testkit::{Link, database};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::{sleep, timeout};

use crate::{
    FIRST, INSERT,
    postgres::{insert, opened},
};

/// Longer than whatever has a limit takes.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Two accounts or none.
async fn insert_two(database: &Database, id: i64) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    for id in [id, id + 1] {
        tx.statement(INSERT).bind(id).bind(id.to_string()).bind(id.to_string()).execute().await?;
    }
    tx.commit().await
}

#[tokio::test]
async fn row_77_a_transaction_dropped_anywhere_loses_no_acknowledged_write() {
    database::with(|url| async move {
        let database = opened(&url, "auth", &[FIRST], 2).await.expect("opened");
        for round in 0..400 {
            cancel_after(insert_two(&database, round * 2), round as usize % 32).await;
            insert(&database, -1 - round, &format!("alone {round}")).await.expect("acknowledged");
        }
        let mut other = PgConnection::connect(&url).await.expect("another session");
        let count = async |other: &mut PgConnection, sql| -> i64 {
            sqlx::query_scalar(sql).fetch_one(other).await.expect("counted")
        };
        assert_eq!(count(&mut other, "SELECT count(*) FROM auth.account WHERE id < 0").await, 400);
        let halves =
            "SELECT count(*) FROM (SELECT FROM auth.account WHERE id >= 0 GROUP BY id / 2 HAVING count(*) < 2) a";
        assert_eq!(count(&mut other, halves).await, 0);
    })
    .await;
}

/// The session a statement ran on.
async fn session(database: &Database) -> i32 {
    let (pid,) = database.read("SELECT pg_backend_pid()").fetch_one().await.expect("answers");
    pid
}

#[tokio::test]
async fn a_transaction_keeps_its_session_unless_a_step_failed() {
    database::with(|url| async move {
        let database = opened(&url, "auth", &[FIRST], 1).await.expect("opened");
        let first = session(&database).await;
        insert_two(&database, 0).await.expect("done");
        let mut left = database.begin().await.expect("begun");
        left.statement(INSERT).bind(7_i64).bind("a").bind("a").execute().await.expect("stored");
        drop(left);
        assert_eq!(session(&database).await, first);

        let mut broken = database.begin().await.expect("begun");
        let taken = broken.statement(INSERT).bind(0_i64).bind("b").bind("b").execute().await.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::Internal);
        let after = broken.statement("SELECT 1").execute().await.expect_err("it is over");
        assert_eq!(after.kind(), ErrorKind::Unavailable);
        assert_eq!(broken.commit().await.expect_err("it is over").kind(), ErrorKind::Unavailable);
        assert_ne!(session(&database).await, first);
        let ids: Vec<(i64,)> = database.read("SELECT id FROM account ORDER BY id").fetch_all().await.expect("read");
        assert_eq!(ids, [(0,), (1,)]);
    })
    .await;
}

/// One answer in each place where one may be waited for. None comes, and nothing is as before but what is closed.
#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    database::with(|url| async move {
        let (link, through) = Link::to_url(&url).await;
        let database = opened(&through, "auth", &[FIRST], 5).await.expect("opened");
        let mut transactions = Vec::new();
        for id in 0..4_i64 {
            let mut tx = database.begin().await.expect("begun");
            tx.statement(INSERT).bind(id).bind(id.to_string()).bind(id.to_string()).execute().await.expect("stored");
            transactions.push(tx);
        }
        session(&database).await;
        link.silence();

        let [committed, undone, mut asked, dropped] = transactions.try_into().expect("four");
        drop(dropped);
        let asked = async { asked.statement("SELECT 1").execute().await.map(|_| ()) };
        let alone = async { database.write("DELETE FROM account").execute().await.map(|_| ()) };
        let all = async { tokio::join!(committed.commit(), undone.rollback(), asked, alone) };
        let (committed, undone, asked, alone) = timeout(PATIENCE, Box::pin(all)).await.expect("in time");
        for outcome in [committed, undone, asked, alone] {
            assert_eq!(outcome.expect_err("no answer").kind(), ErrorKind::Unavailable);
        }
        // What the silent sessions hold is the server's to free: it ends them after 5 s.
        let again = async {
            while join_all((10..15).map(|id| insert_two(&database, id * 2))).await.iter().any(Result::is_err) {
                database.write("DELETE FROM account").execute().await.ok();
            }
        };
        timeout(PATIENCE, again).await.expect("all five sessions are back");
    })
    .await;
}

#[tokio::test]
async fn idle_sessions_that_fell_silent_harm_nobody() {
    database::with(|url| async move {
        let (link, through) = Link::to_url(&url).await;
        let database = opened(&through, "auth", &[FIRST], 8).await.expect("opened");
        let slow = || database.read("SELECT 1 FROM pg_sleep(0.5)").fetch_one::<(i32,)>();
        for outcome in join_all((0..8).map(|_| slow())).await {
            outcome.expect("answers");
        }
        link.silence();
        // From then on they are pinged before use.
        sleep(Duration::from_millis(1_500)).await;
        timeout(PATIENCE, insert(&database, 1, "a")).await.expect("in time").expect("on a new session");
    })
    .await;
}

/// The session a statement ran on, and what was asked for.
async fn answered(pool: &PostgresPool, number: i64) -> Result<(i32, i64), Error> {
    pool.fetch_one(sqlx::query_as("SELECT pg_backend_pid(), $1").bind(number)).await
}

#[tokio::test]
async fn only_a_session_whose_statement_succeeded_is_kept() {
    database::with(|url| async move {
        let options = migrate_postgres(&url, "auth", &[FIRST]).await.expect("migrated");
        let pool = PostgresPool::new(options, 1);
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
        let pool = PostgresPool::new(options, 2);
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
