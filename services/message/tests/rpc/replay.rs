//! Replay and Subscribe: what was missed.

use std::{sync::Arc, time::Duration};

use messenger_core::{Clock as _, Cursor, ErrorKind, JournalId, Position, SystemClock, UserId};
use messenger_identity::{AccessClaims, Identity, Revocation, Signer, TokenRules, Verifier, jwks};
use messenger_message::{BusLocation, JournalCommand};
use messenger_proto::message::v1::{
    ReplayRequest, ReplayResponse, SubscribeRequest, message_service_client::MessageServiceClient,
    subscribe_response::Event,
};
use messenger_rpc::{RpcChannel, ServerAuth, Service, from_status, request_as};
use messenger_telemetry::Shutdown;
use tokio::time::timeout;
use tonic::Request;
use uuid::Uuid;

use crate::{
    pipe::Pipe,
    support::{Client, Group, Listener, PATIENCE, World, message_of, new_id, tagged},
};

async fn fill(client: &mut Client, group: &Group, sender: UserId, messages: u64) {
    let mut pipe = Pipe::open(client).await;
    let drafts: Vec<_> = (0..messages).map(|tag| tagged(tag, sender, group.draft(&tag.to_string()))).collect();
    for drafts in drafts.chunks(500) {
        pipe.send(drafts.to_vec()).await;
    }
    pipe.outcomes(messages as usize).await;
}

/// Where the journal is now.
/// At or above everything that was answered: a user is followed from a snapshot on, the feed alone may be a batch behind.
async fn cursor(client: &mut Client) -> String {
    let mut listener = Listener::open(client).await;
    let position = Position(listener.follow(new_id()).await.position);
    Cursor { journal: JournalId(listener.journal.parse().expect("a UUID")), position }.encode()
}

async fn first_page(client: &mut Client, user: UserId, cursor: &str) -> Result<ReplayResponse, ErrorKind> {
    let request = ReplayRequest { cursor: cursor.to_owned(), first_page: true, ..ReplayRequest::default() };
    let page = client.replay(request_as(user, request)).await;
    page.map(tonic::Response::into_inner).map_err(|status| from_status(&status).kind())
}

pub async fn pages(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let mut cursor = cursor(client).await;
    let mut group = Group::create(client, &[ann]).await;
    fill(client, &group, ann, 50).await;
    group.add(client, bob).await;
    fill(client, &group, ann, 500).await;
    let mut contents = Vec::new();
    let mut changes = 0;
    let mut is_first = true;
    loop {
        let request = ReplayRequest { cursor, page_size: 77, first_page: is_first, ..ReplayRequest::default() };
        let page = client.replay(request_as(bob, request)).await.expect("a page").into_inner();
        assert!(page.entries.len() <= 77 && page.limited.is_empty());
        for entry in page.entries {
            match message_of(entry) {
                Some(message) => contents.push(message.content),
                None => changes += 1,
            }
        }
        (cursor, is_first) = (page.cursor, false);
        if !page.has_more {
            break;
        }
    }
    // Nothing from before the addition.
    assert_eq!((contents, changes), ((0..500).map(|n| n.to_string()).collect(), 1));
}

pub async fn too_much_in_one_conversation(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let ann: UserId = new_id();
    let (busy, quiet) = (Group::create(client, &[ann]).await, Group::create(client, &[ann]).await);
    fill(client, &busy, ann, 10).await;
    let cursor = cursor(client).await;
    fill(client, &busy, ann, 1_001).await;
    quiet.send(client, ann, "quiet").await;
    let page = first_page(client, ann, &cursor).await.expect("a page");
    assert_eq!(page.limited.len(), 1);
    assert_eq!((&page.limited[0].conversation_id, page.limited[0].from_seq), (&busy.id.to_string(), 11));
    assert_eq!(page.entries.len(), 1);
    let request = ReplayRequest {
        cursor: page.cursor,
        excluded_conversation_ids: vec![busy.id.to_string()],
        ..ReplayRequest::default()
    };
    let page = client.replay(request_as(ann, request)).await.expect("a page").into_inner();
    assert!(page.entries.is_empty() && !page.has_more && page.limited.is_empty());
}

pub async fn too_much_in_all(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let ann: UserId = new_id();
    let cursor = cursor(client).await;
    for _ in 0..11 {
        let group = Group::create(client, &[ann]).await;
        fill(client, &group, ann, 1_000).await;
    }
    assert_eq!(first_page(client, ann, &cursor).await.expect_err("too much"), ErrorKind::ResyncRequired);
    let subscribed = client.subscribe(request_as(ann, SubscribeRequest { cursor })).await;
    assert_eq!(from_status(&subscribed.expect_err("too much")).kind(), ErrorKind::ResyncRequired);
}

pub async fn foreign_cursors(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, own) = (new_id(), cursor(client).await);
    let own = Cursor::decode(&own).expect("ours");
    let above = Cursor { position: Position(own.position.0 + 1), ..own };
    let foreign = Cursor { journal: JournalId(Uuid::new_v4()), ..own };
    assert!(first_page(client, ann, &own.encode()).await.is_ok());
    for (cursor, kind) in [
        (above.encode(), ErrorKind::ResyncRequired),
        (foreign.encode(), ErrorKind::ResyncRequired),
        ("nonsense".to_owned(), ErrorKind::CursorInvalid),
        (String::new(), ErrorKind::CursorInvalid),
    ] {
        assert_eq!(first_page(client, ann, &cursor).await.expect_err(&cursor), kind);
    }
}

/// As after restoring a backup: whoever was further than it is told to begin anew.
pub async fn a_new_identity_ends_old_cursors(world: &World) {
    let mut before = world.process().await;
    let ann: UserId = new_id();
    let group = Group::create(&mut before.client, &[ann]).await;
    let old = cursor(&mut before.client).await;
    JournalCommand::NewIdentity(world.store_args()).run().await.expect("renewed");
    timeout(PATIENCE, before.shutdown.token.cancelled()).await.expect("what runs on it ends itself");
    assert!(before.shutdown.drain(PATIENCE).await);

    let mut process = world.process().await;
    let client = &mut process.client;
    assert_eq!(first_page(client, ann, &old).await.expect_err("of before"), ErrorKind::ResyncRequired);
    let new = cursor(client).await;
    let (old, new) = (Cursor::decode(&old).expect("ours"), Cursor::decode(&new).expect("ours"));
    assert!(old.journal != new.journal && old.position == new.position);
    group.send(client, ann, "goes on").await;
    assert_eq!(first_page(client, ann, &new.encode()).await.expect("a page").entries.len(), 1);
}

pub async fn subscribe_under_writes(world: &World) {
    const BEFORE: u64 = 900;
    const MEANWHILE: u64 = 600;
    let mut process = world.process().await;
    let client = &mut process.client;
    let users: Vec<UserId> = (0..4).map(|_| new_id()).collect();
    let group = Group::create(client, &users).await;
    let cursor = cursor(client).await;
    fill(client, &group, users[0], BEFORE).await;
    let writers: Vec<_> = users[1..]
        .iter()
        .map(|user| {
            let (mut client, user) = (client.clone(), *user);
            let group = Group::known(group.id, Vec::new());
            tokio::spawn(async move {
                for n in 0..MEANWHILE / 3 {
                    group.send(&mut client, user, &n.to_string()).await;
                }
            })
        })
        .collect();
    let request = request_as(users[0], SubscribeRequest { cursor });
    let mut subscribed = client.subscribe(request).await.expect("subscribed").into_inner();
    let (mut next_seq, mut last_position, mut caught_up) = (1, 0, 0);
    while next_seq <= (BEFORE + MEANWHILE) as i64 || caught_up == 0 {
        let response = timeout(PATIENCE, subscribed.message()).await.expect("in time").expect("no error");
        match response.expect("not the end").event.expect("an event") {
            Event::Entry(entry) => {
                let cursor = Cursor::decode(&entry.cursor).expect("a cursor");
                let entry = entry.entry.expect("an entry");
                assert!(entry.position > last_position);
                last_position = entry.position;
                assert_eq!(cursor.position.0, entry.position);
                assert_eq!(message_of(entry).expect("a message").seq, next_seq, "each position once");
                next_seq += 1;
            }
            Event::CaughtUp(_) => caught_up += 1,
            Event::Signal(_) => {}
        }
    }
    assert_eq!(caught_up, 1);
    for writer in writers {
        writer.await.expect("written");
    }
}

/// The token is checked when a stream is opened; the stream may not outlive it.
pub async fn a_subscription_ends_with_its_session(world: &World) {
    let rules = TokenRules::default();
    let signer = Signer::from_pkcs8("k1", &Signer::generate().expect("randomness")).expect("a key");
    let verifier = Arc::new(Verifier::new(rules.clone(), Arc::new(SystemClock)));
    verifier.set_keys(&jwks(&[signer.jwk()])).expect("a key");
    verifier.set_caught_up();
    let (conversation, _) = RpcChannel::in_process(Service::Message);
    let messages = world.messages(BusLocation::Local, conversation, &Shutdown::new()).await;
    let auth = ServerAuth { verifier: verifier.clone(), trust: world.credential.trust() };
    let routes = messages.routes(auth, None);
    let mut client = MessageServiceClient::new(routes);
    let (now, user_id) = (SystemClock.now(), new_id());
    let expires_at = now.plus(Duration::from_secs(600));
    let identity = Identity { user_id, session_id: new_id(), issued_at: now, expires_at };
    let bearer = format!("Bearer {}", signer.sign(&AccessClaims::new(&rules, identity, "t1".to_owned())));
    let mut request = Request::new(SubscribeRequest::default());
    request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
    let mut feed = client.subscribe(request).await.expect("subscribed").into_inner();
    let first = timeout(PATIENCE, feed.message()).await.expect("in time").expect("no error").expect("an event");
    assert!(matches!(first.event, Some(Event::CaughtUp(_))), "{first:?}");
    verifier.revoke(Revocation {
        number: 1,
        user_id,
        session_id: Some(identity.session_id),
        except_session_id: None,
        revoked_at: now,
        until: Revocation::own_until(now),
    });
    let error = timeout(PATIENCE, feed.message()).await.expect("in time").expect_err("the session was ended");
    assert_eq!(from_status(&error).kind(), ErrorKind::TokenRevoked);
}
