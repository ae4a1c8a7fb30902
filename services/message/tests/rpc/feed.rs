//! Follow: what a gateway hears.

use messenger_core::{ErrorKind, UserId};
use messenger_proto::{
    event::v1::{conversation_changed::Change, entry::Fact, signal::Signal as Signals},
    message::v1::{
        MarkReadRequest, ReplayRequest, SendMessagesRequest, follow_request::Command, follow_response::Event,
        mark_read_request::UpTo,
    },
};
use messenger_rpc::{from_status, request_as};
use tokio::time::timeout;

use crate::support::{Group, Listener, PATIENCE, World, message_of, new_id, tagged};

pub async fn followers_hear_what_was_sent(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob, eve): (UserId, UserId, UserId) = (new_id(), new_id(), new_id());
    let group = Group::create(client, &[ann, bob]).await;
    let mut followed = Listener::open(client).await;
    let answer = followed.follow(bob).await;
    assert_eq!(answer.conversation_ids, [group.id.to_string()]);
    let mut stranger = Listener::of(client, &[eve]).await;

    let sent = group.send(client, ann, "hello").await;
    let entry = followed.entry().await;
    assert!(entry.position > answer.position);
    assert_eq!(message_of(entry.clone()), Some(sent));
    assert!(stranger.rest_up_to(entry.position).await.is_empty());
}

pub async fn added_while_followed(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let mut group = Group::create(client, &[ann]).await;
    group.send(client, ann, "before").await;
    let mut listener = Listener::of(client, &[bob]).await;
    group.add(client, bob).await;
    group.send(client, ann, "after").await;

    let Some(Fact::ConversationChanged(changed)) = listener.entry().await.fact else { panic!("first the addition") };
    assert!(matches!(changed.change, Some(Change::ParticipantsAdded(_))));
    assert_eq!(listener.message().await.content, "after");
}

pub async fn removed_while_followed(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let mut group = Group::create(client, &[ann, bob]).await;
    let mut of_bob = Listener::of(client, &[bob]).await;
    let mut of_ann = Listener::of(client, &[ann]).await;
    group.send(client, ann, "before").await;
    group.remove(client, bob).await;
    group.send(client, ann, "after").await;

    assert_eq!(of_bob.message().await.content, "before");
    let Some(Fact::ConversationChanged(changed)) = of_bob.entry().await.fact else { panic!("the removal") };
    assert!(matches!(changed.change, Some(Change::ParticipantRemoved(_))));
    for _ in 0..2 {
        of_ann.entry().await;
    }
    let last = of_ann.entry().await.position;
    assert!(of_bob.rest_up_to(last).await.is_empty());
}

pub async fn users_come_and_go(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann, bob]).await;
    let mut listener = Listener::of(client, &[ann, bob]).await;
    group.send(client, ann, "1").await;
    assert_eq!(listener.message().await.content, "1");
    // Still there for the other one.
    listener.ask(Command::Remove, vec![ann.to_string()]).await;
    listener.follow(bob).await;
    group.send(client, ann, "2").await;
    assert_eq!(listener.message().await.content, "2");
    // The answer for somebody else says that the removal was heard.
    listener.ask(Command::Remove, vec![bob.to_string()]).await;
    listener.follow(new_id()).await;
    group.send(client, ann, "3").await;
    let mut other = Listener::of(client, &[ann]).await;
    group.send(client, ann, "4").await;
    let last = other.entry().await.position;
    assert!(listener.rest_up_to(last).await.is_empty());
}

pub async fn a_follower_that_does_not_read(world: &World) {
    const MESSAGES: u64 = 1_000;
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann, bob]).await;
    let mut slow = Listener::of(client, &[bob]).await;
    let content = "\u{1f600}".repeat(10_000);
    let drafts = |from: u64| (from..from + 50).map(|tag| tagged(tag, ann, group.draft(&content))).collect();
    let batches: Vec<_> = (0..MESSAGES).step_by(50).map(|from| SendMessagesRequest { drafts: drafts(from) }).collect();
    let mut outcomes = client.send_messages(tokio_stream::iter(batches)).await.expect("a pipe").into_inner();
    let mut answered = 0;
    while let Some(response) = timeout(PATIENCE, outcomes.message()).await.expect("in time").expect("answers") {
        answered += response.outcomes.len() as u64;
    }
    assert_eq!(answered, MESSAGES);

    let mut seen = 0;
    let error = loop {
        match timeout(PATIENCE, slow.responses.message()).await.expect("in time") {
            Ok(Some(response)) => {
                if let Some(Event::Entries(entries)) = response.event {
                    slow.position = entries.position;
                    seen += entries.entries.len();
                    assert!((seen as u64) < MESSAGES, "not all of them fit in its queue");
                }
            }
            Ok(None) => panic!("it is told why"),
            Err(status) => break from_status(&status),
        }
    };
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let journal = messenger_core::JournalId(slow.journal.parse().expect("a UUID"));
    let position = messenger_core::Position(slow.position);
    let mut cursor = messenger_core::Cursor { journal, position }.encode();
    let mut first_page = true;
    loop {
        let request = ReplayRequest { cursor, first_page, ..ReplayRequest::default() };
        let page = client.replay(request_as(bob, request)).await.expect("a page").into_inner();
        seen += page.entries.len();
        if !page.has_more {
            break;
        }
        (cursor, first_page) = (page.cursor, false);
    }
    assert_eq!(seen as u64, MESSAGES);
}

pub async fn read_positions_are_signalled(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann, bob]).await;
    group.send(client, ann, "1").await;
    let mut listener = Listener::of(client, &[ann]).await;
    let request = MarkReadRequest { conversation_id: group.id.to_string(), up_to: Some(UpTo::Seq(1)), origin: 0 };
    for _ in 0..2 {
        let read = client.mark_read(request_as(bob, request.clone())).await.expect("marked").into_inner();
        assert_eq!((read.last_read_seq, read.unread_count), (1, 0));
    }
    group.send(client, ann, "2").await;
    let mut signals = 0;
    loop {
        match listener.event().await {
            Event::Signal(signal) => {
                let Some(Signals::MessageRead(read)) = signal.signal else { panic!("read") };
                assert_eq!((read.user_id, read.last_read_seq, read.to_reader_only), (bob.to_string(), 1, false));
                signals += 1;
            }
            Event::Entries(_) => break,
            _ => {}
        }
    }
    assert_eq!(signals, 1, "only what rose is told");
}

pub async fn what_is_malformed_ends_the_follower(world: &World) {
    let mut process = world.process().await;
    let listener = Listener::open(&mut process.client).await;
    listener.ask(Command::Add, vec!["nobody".to_owned()]).await;
    assert_eq!(end_of(listener).await, ErrorKind::ValidationFailed);
}

pub async fn the_end_is_told(world: &World) {
    let mut process = world.process().await;
    let listener = Listener::open(&mut process.client).await;
    process.shutdown.token.cancel();
    assert_eq!(end_of(listener).await, ErrorKind::Draining);
    assert!(process.shutdown.drain(PATIENCE).await);
}

async fn end_of(mut listener: Listener) -> ErrorKind {
    loop {
        match timeout(PATIENCE, listener.responses.message()).await.expect("in time") {
            Ok(response) => assert!(response.is_some(), "it is told why"),
            Err(status) => return from_status(&status).kind(),
        }
    }
}
