//! What happens when the database refuses or goes away.

use std::sync::mpsc;

use messenger_core::ErrorKind;
use messenger_db::Location;
use messenger_message::model::Batch;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::oneshot;

use crate::support::{Talk, append, at, but, execute, group, journal, message_id, open, postgres, send, seqs, users};

pub async fn a_refused_row_leaves_its_neighbours(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    execute(
        &location,
        "ALTER TABLE message ADD CONSTRAINT poison CHECK (content <> 'poison')",
        "CREATE TRIGGER poison BEFORE INSERT ON message WHEN NEW.content = 'poison'
         BEGIN SELECT RAISE(ABORT, 'poison'); END",
    )
    .await;
    let mut other = Talk::group();
    let content = |n| if n == 3 || n == 10 { "poison" } else { "good" };
    let drafts: Vec<_> = (0..13).map(|n| talk.draft(ann, content(n))).collect();
    let ids: Vec<_> = drafts.iter().map(|row| row.draft.message_id).collect();
    let appended = append(&store, vec![other.create(&[ann])], drafts).await;
    assert_eq!(appended.changes[0].as_ref().expect("held"), &1);
    let mut expected: Vec<_> = (1..=11).map(Ok).collect();
    expected.insert(3, Err(ErrorKind::Internal));
    expected.insert(10, Err(ErrorKind::Internal));
    assert_eq!(seqs(&appended.drafts), expected);

    let entries = journal(&store).await;
    assert_eq!(entries[1..], appended.entries);
    let stored: Vec<_> = entries.iter().filter_map(message_id).collect();
    let good: Vec<_> = (0..13).filter(|n| content(*n) == "good").map(|n| ids[n as usize]).collect();
    assert_eq!(stored, good);
    // The writer goes on as before.
    assert_eq!(seqs(&append(&store, vec![], vec![talk.draft(ann, "good")]).await.drafts), [Ok(12)]);
    let alone = append(&store, vec![], vec![talk.draft(ann, "poison")]).await;
    assert_eq!((seqs(&alone.drafts), alone.last), (vec![Err(ErrorKind::Internal)], alone.previous));
}

pub async fn a_taken_message_id_is_a_repeat(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let talk = group(&store, &[ann, bob]).await;
    let first = talk.draft(ann, "a");
    send(&store, first.clone()).await.expect("stored");
    // Nobody said that these were sent before.
    let stolen = but(first.clone(), |draft| draft.sender_id = bob);
    let appended = append(&store, vec![], vec![talk.draft(ann, "b"), first, stolen, talk.draft(bob, "c")]).await;
    let reused = Err(ErrorKind::IdempotencyKeyReused);
    assert_eq!(seqs(&appended.drafts), [Ok(2), Ok(1), reused, Ok(3)]);
    assert!(appended.drafts[1].as_ref().expect("repeated").repeated);
    assert_eq!(journal(&store).await.len(), 4);
}

const KILL: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

pub async fn a_killed_session_is_unavailable_once(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    sqlx::query(KILL).fetch_all(&mut postgres(&location).await).await.expect("killed");
    let batch = Batch { changes: vec![], drafts: vec![talk.draft(ann, "lost")] };
    let error = store.append(batch, at(1)).await.expect_err("the session is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(send(&store, talk.draft(ann, "next")).await.expect("stored").message.seq, 1);
}

/// A process that stops (a debugger, a frozen virtual machine) while it holds the lock: the server ends its session, and
/// the others go on before they give up waiting. Its batch is not stored, and it says so when it goes on.
pub async fn a_frozen_writer_does_not_stop_the_others(location: Location) {
    let other = open(&location).await;
    let [ann, bob] = users();
    let talk = group(&other, &[ann, bob]).await;
    let mut watcher = postgres(&location).await;
    let mut holder = postgres(&location).await;
    let mut row = holder.begin().await.expect("begins");
    sqlx::query(HOLD).bind(ann.uuid()).execute(&mut *row).await.expect("held");
    let batch = Batch { changes: vec![], drafts: vec![talk.draft(ann, "frozen")] };
    let (freeze, frozen, thaw) = (oneshot::channel(), oneshot::channel(), mpsc::channel::<()>());
    let thread = std::thread::spawn({
        let (freeze, frozen, thaw) = (freeze.1, frozen.0, thaw.1);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let store = open(&location).await;
                let appending = tokio::spawn(async move { store.append(batch, at(1)).await });
                freeze.await.expect("told to");
                frozen.send(()).expect("awaited");
                thaw.recv().expect("told to");
                appending.await.expect("answers")
            })
        }
    });
    waiting_session(&mut watcher).await;
    freeze.0.send(()).expect("runs");
    frozen.1.await.expect("stands still");
    row.rollback().await.expect("released");
    assert_eq!(send(&other, talk.draft(bob, "goes on")).await.expect("stored").message.seq, 1);
    thaw.0.send(()).expect("stands still");
    let answer = tokio::task::spawn_blocking(move || thread.join().expect("no panic")).await.expect("joined");
    assert_eq!(answer.expect_err("its session was ended").kind(), ErrorKind::Unavailable);
    assert_eq!(journal(&other).await.len(), 2);
}

/// Holds the memberships of a user.
pub const HOLD: &str = "UPDATE membership SET role = role WHERE user_id = $1";

/// The session that waits for a lock.
async fn waiting_session(watcher: &mut PgConnection) -> i32 {
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        match sqlx::query_scalar(waiting).fetch_optional(&mut *watcher).await.expect("reads") {
            Some(pid) => break pid,
            None => tokio::task::yield_now().await,
        }
    }
}

/// Killed after its rows were written, while it waits on one of them, before the commit.
pub async fn a_session_killed_under_the_lock_stores_nothing(location: Location) {
    let (store, other) = (open(&location).await, open(&location).await);
    let [ann, bob] = users();
    let talk = group(&store, &[ann, bob]).await;
    let mut watcher = postgres(&location).await;
    let mut holder = postgres(&location).await;
    let mut row = holder.begin().await.expect("begins");
    sqlx::query(HOLD).bind(ann.uuid()).execute(&mut *row).await.expect("held");
    let draft = talk.keyed(ann, "a", "k");
    let batch = Batch { changes: vec![], drafts: vec![draft.clone()] };
    let appending = tokio::spawn({
        let store = store.clone();
        async move { store.append(batch, at(1)).await }
    });
    let pid = waiting_session(&mut watcher).await;
    sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(pid).execute(&mut watcher).await.expect("killed");
    let error = appending.await.expect("answers").expect_err("the session is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    row.rollback().await.expect("released");
    assert_eq!(journal(&other).await.len(), 1);
    assert_eq!(send(&store, draft).await.expect("stored").message.seq, 1);
}
