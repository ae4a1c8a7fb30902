//! Replays, however many, leave readers of the store to histories and lists.

use messenger_core::{Cursor, ErrorKind, JournalId, Position, UserId};
use messenger_proto::message::v1::{ListMessagesRequest, ReplayRequest};
use messenger_rpc::{from_status, request_as};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    task::{JoinSet, yield_now},
    time::timeout,
};

use crate::support::{Client, Group, Listener, PATIENCE, World, new_id};

/// Readers of the store that replays have: three of four.
const READERS: i64 = 7;
/// Sessions that wait for the lock of [`row_83_replays_without_end`].
const WAITING: &str = "
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// One who calls for its replay so many times at once; the kinds of what is refused.
fn call(client: &Client, user: UserId, cursor: &str, times: usize, calls: &mut JoinSet<Option<ErrorKind>>) {
    for _ in 0..times {
        let request = ReplayRequest { cursor: cursor.to_owned(), first_page: true, ..ReplayRequest::default() };
        let mut client = client.clone();
        calls.spawn(async move {
            let page = client.replay(request_as(user, request)).await;
            page.err().map(|status| from_status(&status).kind())
        });
    }
}

/// Replays that take long: a table only they read is locked.
#[tokio::test(flavor = "multi_thread")]
async fn row_83_replays_without_end() {
    let world = World::postgres().await;
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, eve): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann]).await;
    group.send(client, ann, "hello").await;
    let journal = JournalId(Listener::open(client).await.journal.parse().expect("a UUID"));
    let cursor = Cursor { journal, position: Position(0) }.encode();

    let [mut admin, mut watch] = [session(&world).await, session(&world).await];
    let mut lock = admin.begin().await.expect("begun");
    sqlx::query("LOCK TABLE message.departure IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("locked");
    let mut calls = JoinSet::new();
    call(client, eve, &cursor, 40, &mut calls);
    let refused = async {
        while let Some(call) = calls.join_next().await {
            if call.expect("no panic") == Some(ErrorKind::RateLimited) {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, refused).await.expect("in time"), "so many of one user do not wait");
    assert!(waiting(&mut watch).await <= 1, "one user has one reader");

    (0..60).for_each(|_| call(client, new_id(), &cursor, 1, &mut calls));
    let crowd = async {
        while waiting(&mut watch).await < READERS {
            yield_now().await;
        }
    };
    timeout(PATIENCE, crowd).await.expect("many users have all that replays have");
    let history = ListMessagesRequest { conversation_id: group.id.to_string(), ..ListMessagesRequest::default() };
    let most = async {
        let mut most = READERS;
        while !calls.is_empty() {
            most = most.max(waiting(&mut watch).await);
            while calls.try_join_next().is_some() {}
        }
        most
    };
    let (page, most) = tokio::join!(client.list_messages(request_as(ann, history)), timeout(PATIENCE, most));
    assert_eq!(page.expect("a reader is left").into_inner().messages.len(), 1);
    assert_eq!(most.expect("all give up"), READERS, "never more");

    lock.rollback().await.expect("released");
    process.shutdown.token.cancel();
    drop((admin, watch));
    world.end().await;
}

async fn session(world: &World) -> PgConnection {
    PgConnection::connect(&world.database_url()).await.expect("a session")
}

/// Not by the session that has the lock: in a transaction the answer stays the same.
async fn waiting(session: &mut PgConnection) -> i64 {
    sqlx::query_scalar(WAITING).fetch_one(session).await.expect("counted")
}
