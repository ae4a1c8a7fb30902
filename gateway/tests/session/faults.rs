//! The message service goes away and comes back; clients go away and come back: nothing is lost, nothing comes twice.

use std::collections::HashSet;

use messenger_core::{Cursor, ErrorKind, Position};
use messenger_gateway::session::{CloseReason, Resume};
use serde_json::{Value, json};

use crate::{
    client::{Client, content},
    world::{User, World},
};

async fn contents(client: &mut Client, event: &str, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    while received.len() < count {
        received.push(content(&client.event(event).await).to_owned());
    }
    received
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn send(sender: &mut Client, receiver: &User, range: std::ops::Range<usize>) {
    for number in range {
        sender.emit("send_message", &json!({"receiverId": receiver.id, "content": number.to_string()}));
    }
}

#[tokio::test]
async fn a_cut_link_loses_and_doubles_nothing() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut receiver) = (world.connect(&alice).await, world.connect(&bob).await);
    let mut sent = Vec::new();
    for burst in 0..8 {
        send(&mut sender, &bob, burst * 25..burst * 25 + 20);
        // In the middle of the burst: some are stored, some on their way, some neither.
        sent.extend(contents(&mut sender, "message_sent", 1).await);
        world.link.cut();
        send(&mut sender, &bob, burst * 25 + 20..burst * 25 + 25);
        world.link.mend();
    }
    sent.extend(contents(&mut sender, "message_sent", 192).await);
    assert_eq!(sent, numbers(0..200));
    assert_eq!(contents(&mut receiver, "new_message", 200).await, numbers(0..200));
    assert!(sender.so_far().await.is_empty() && receiver.so_far().await.is_empty());
}

#[tokio::test]
async fn what_others_stored_while_the_link_was_cut_is_read_from_the_journal() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut receiver = world.connect(&bob).await;
    world.link.cut();
    // Through another way in: this gateway cannot hear of it.
    let group = world.create_group(&alice, &[&bob], false).await;
    world.link.mend();
    assert_eq!(receiver.next().await["data"]["id"], group.as_str());
    let mut sender = world.connect(&alice).await;
    sender.emit("send_message", &json!({"groupId": group, "content": "back"}));
    assert_eq!(content(&receiver.next().await), "back");
}

#[tokio::test]
async fn a_client_comes_back_to_another_gateway_and_misses_nothing() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut receiver) = (world.connect(&alice).await, world.connect(&bob).await);
    sender.emit("send_message", &json!({"receiverId": bob.id, "content": "0"}));
    let offset = receiver.event("new_message").await["cursor"].as_str().expect("durable").to_owned();
    let pid = receiver.session.connected().pid.clone();
    drop(receiver);
    for number in 1..301 {
        sender.ask("send_message", &json!({"receiverId": bob.id, "content": number.to_string()})).await;
    }

    let elsewhere = world.another_gateway().await;
    let resume = Resume::Pid { pid: &pid, offset: Some(&offset) };
    let mut receiver = Client::resume(&elsewhere, &bob, resume).await.expect("resumes");
    assert!(receiver.session.connected().recovered && receiver.session.connected().pid == pid);
    assert_eq!(contents(&mut receiver, "new_message", 300).await, numbers(1..301));
    let completed = receiver.event("sync_completed").await;
    assert_eq!(completed["data"]["limited"], json!([]));
    sender.emit("send_message", &json!({"receiverId": bob.id, "content": "live"}));
    assert_eq!(contents(&mut receiver, "new_message", 1).await, ["live"]);

    let stranger = Client::resume(&elsewhere, &alice, resume).await.expect("begins anew");
    assert!(!stranger.session.connected().recovered && stranger.session.connected().pid != pid);
    let error = Client::resume(&elsewhere, &bob, Resume::Cursor("x")).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::CursorInvalid);
}

/// A client takes the pid it has for "everything is replayed", whatever else it is told.
#[tokio::test]
async fn no_pid_comes_twice_when_something_is_left_out() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut sender = world.connect(&alice).await;
    let mut pid = world.connect(&bob).await.session.connected().pid.clone();
    let mut seen = vec![pid.clone()];
    for _ in 0..1_001 {
        sender.emit("send_message", &json!({"receiverId": bob.id, "content": "missed"}));
    }
    contents(&mut sender, "message_sent", 1_001).await;
    for _ in 0..3 {
        let resume = Resume::Pid { pid: &pid, offset: None };
        let mut receiver = Client::resume(&world.gateway, &bob, resume).await.expect("resumes");
        let connected = receiver.session.connected().clone();
        assert!(!connected.recovered && !seen.contains(&connected.pid), "{connected:?}");
        let completed = receiver.event("sync_completed").await;
        assert_eq!(completed["data"]["limited"][0]["fromSeq"], 1);
        pid = connected.pid;
        seen.push(pid.clone());
    }
}

#[tokio::test]
async fn its_own_sends_come_back_as_sent_after_a_resume() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut sender = world.connect(&alice).await;
    let pid = sender.session.connected().pid.clone();
    let sent = sender.ask("send_message", &json!({"receiverId": bob.id, "content": "was it stored?"})).await;
    drop(sender);
    let resume = Resume::Pid { pid: &pid, offset: None };
    let mut sender = Client::resume(&world.gateway, &alice, resume).await.expect("resumes");
    assert_eq!(sender.event("message_sent").await["data"], sent["data"]);
}

#[tokio::test]
async fn sync_brings_what_was_before_the_connection_and_nothing_twice() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut sender = world.connect(&alice).await;
    let start = sender.session.connected().cursor.clone();
    for number in 0..80 {
        sender.ask("send_message", &json!({"receiverId": bob.id, "content": number.to_string()})).await;
    }
    let mut receiver = world.connect(&bob).await;
    for number in 80..90 {
        sender.ask("send_message", &json!({"receiverId": bob.id, "content": number.to_string()})).await;
    }
    assert_eq!(contents(&mut receiver, "new_message", 10).await, numbers(80..90));
    let answer = receiver.ask("sync", &json!({"cursor": start})).await;
    let replayed = contents(&mut receiver, "new_message", 80).await;
    assert_eq!(replayed, numbers(0..80));
    assert_eq!(receiver.event("sync_completed").await["data"], answer["data"]);
    sender.emit("send_message", &json!({"receiverId": bob.id, "content": "live"}));
    assert_eq!(contents(&mut receiver, "new_message", 1).await, ["live"]);
    let again = receiver.ask("sync", &json!({"cursor": start})).await;
    assert_eq!(again["event"], "ack");
    let events: HashSet<Value> = receiver.so_far().await.into_iter().map(|frame| frame["event"].clone()).collect();
    assert_eq!(events, [json!("sync_completed")].into(), "all of it was sent on this connection");
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_complete_afterwards() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut sleeper) = (world.connect(&alice).await, world.connect(&bob).await);
    let pid = sleeper.session.connected().pid.clone();
    for number in 0..600 {
        sender.ask("send_message", &json!({"receiverId": bob.id, "content": number.to_string()})).await;
    }
    assert_eq!(sleeper.closed().await, CloseReason::SlowConsumer);
    drop(sleeper);
    let resume = Resume::Pid { pid: &pid, offset: None };
    let mut back = Client::resume(&world.gateway, &bob, resume).await.expect("resumes");
    assert!(back.session.connected().recovered);
    assert_eq!(contents(&mut back, "new_message", 600).await, numbers(0..600));
}

#[tokio::test]
async fn a_cursor_the_journal_never_reached_has_to_fetch_anew() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut receiver) = (world.connect(&alice).await, world.connect(&bob).await);
    let here = Cursor::decode(&receiver.session.connected().cursor).expect("ours");
    let beyond = Cursor { position: Position(i64::MAX), ..here }.encode();
    let answer = receiver.ask("sync", &json!({"cursor": beyond})).await;
    assert_eq!(answer["data"]["code"], "RESYNC_REQUIRED", "{answer}");
    assert_eq!(receiver.event("resync_required").await["event"], "resync_required");
    // It goes on from now.
    send(&mut sender, &bob, 0..1);
    assert_eq!(contents(&mut receiver, "new_message", 1).await, numbers(0..1));
}
