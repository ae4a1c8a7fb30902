//! How connections begin and end: tokens, revocations, bounds, the shutdown.

use std::time::Duration;

use messenger_auth::TokenConfig;
use messenger_core::ErrorKind;
use messenger_gateway::session::{CloseReason, Resume};
use messenger_proto::auth::v1::{LogoutAllRequest, RefreshTokenRequest};
use messenger_rpc::request_as;
use serde_json::json;

use crate::{client::Client, world::World};

#[tokio::test]
async fn a_token_is_renewed_on_the_open_connection_or_ends_it() {
    let tokens = TokenConfig { access_token_ttl: Duration::from_secs(8), ..TokenConfig::default() };
    let world = World::start_with(&["--no-rate-limits"], tokens).await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut renewed, mut forgetful) = (world.connect(&alice).await, world.connect(&alice).await);
    assert!(renewed.event("token_expiring").await["data"]["expiresAt"].is_string());

    let foreign = renewed.ask("refresh_token", &json!({"token": bob.token})).await;
    assert_eq!(foreign["data"]["code"], "FORBIDDEN");
    // Half of the first token's life is over: the second outlives it by far.
    let request = RefreshTokenRequest { refresh_token: alice.refresh_token.clone() };
    let answer = world.auth().refresh_token(request).await.expect("rotates").into_inner();
    let renewal = json!({"token": answer.tokens.expect("tokens").access_token});
    assert_eq!(renewed.ask("refresh_token", &renewal).await["event"], "ack");
    assert_eq!(forgetful.closed().await, CloseReason::TokenExpired);
    assert_eq!(renewed.ask("refresh_token", &renewal).await["event"], "ack", "it goes on");
    assert_eq!(renewed.closed().await, CloseReason::TokenExpired);
}

#[tokio::test]
async fn ending_all_sessions_closes_every_connection() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut one, mut two, mut other) =
        (world.connect(&alice).await, world.connect(&alice).await, world.connect(&bob).await);
    let request = request_as(alice.id.parse().expect("a UUID"), LogoutAllRequest {});
    world.auth().logout_all(request).await.expect("ended");
    assert_eq!(one.closed().await, CloseReason::Revoked);
    assert_eq!(two.closed().await, CloseReason::Revoked);
    assert!(other.so_far().await.is_empty());
    let error = Client::resume(&world.gateway, &alice, Resume::None).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::TokenRevoked);
}

#[tokio::test]
async fn a_user_has_so_many_connections_and_no_more() {
    let world = World::start_with(&["--connections-per-user=2"], TokenConfig::default()).await;
    let alice = world.register().await;
    let (one, _two) = (world.connect(&alice).await, world.connect(&alice).await);
    let error = Client::resume(&world.gateway, &alice, Resume::None).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    drop(one);
    world.connect(&alice).await;
}

/// It comes back in place of its dead connection, again and again, and the dead are slow to go.
#[tokio::test]
async fn who_comes_back_is_not_too_many_until_its_goodbyes_are() {
    let world = World::start_with(&["--connections-per-user=1"], TokenConfig::default()).await;
    let alice = world.register().await;
    let mut clients = vec![world.connect(&alice).await];
    let pid = clients[0].session.connected().pid.clone();
    let again = Resume::Pid { pid: &pid, offset: None };
    for _ in 0..20 {
        clients.push(Client::resume(&world.gateway, &alice, again).await.expect("one is open"));
    }
    let error = Client::resume(&world.gateway, &alice, again).await.err().expect("refused");
    assert_eq!((error.kind(), world.gateway.hub.connections()), (ErrorKind::RateLimited, 21));
    let (_, place) = clients.swap_remove(0).session.leave();
    let error = Client::resume(&world.gateway, &alice, again).await.err().expect("it is saying goodbye");
    assert_eq!((error.kind(), world.gateway.hub.connections()), (ErrorKind::RateLimited, 20));
    drop(place);
    assert!(Client::resume(&world.gateway, &alice, again).await.is_ok());
}

#[tokio::test]
async fn an_opening_whose_client_comes_back_is_broken_off() {
    let world = World::start().await;
    let alice = world.register().await;
    let pid = world.connect(&alice).await.session.connected().pid.clone();
    let again = Resume::Pid { pid: &pid, offset: None };
    world.link.silence();
    let ended = tokio::select! {
        ended = Client::resume(&world.gateway, &alice, again) => ended,
        ended = Client::resume(&world.gateway, &alice, again) => ended,
    };
    let error = ended.err().expect("nothing can be read");
    assert!(format!("{error:?}").contains("while it was opened"), "{error:?}");
}

#[tokio::test]
async fn nobody_connects_without_a_good_token() {
    let world = World::start().await;
    let mut alice = world.register().await;
    alice.token.push('x');
    let error = Client::resume(&world.gateway, &alice, Resume::None).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(world.gateway.hub.connections(), 0);
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_says_goodbye() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut sender = world.connect(&alice).await;
    sender.emit("send_message", &json!({"receiverId": bob.id, "content": "last words"}));
    world.edge.token.cancel();
    let goodbye = sender.event("server_draining").await;
    assert!(goodbye["data"]["retryAfterMs"].as_u64().is_some_and(|millis| millis < 5_000));
    assert_eq!(sender.closed().await, CloseReason::Draining);
    drop(sender);
    assert!(world.edge.drain(Duration::from_secs(9)).await, "all tasks end");
    let error = Client::resume(&world.gateway, &alice, Resume::None).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Draining);
}
