//! The stream of revocations: replay, then live, from every process on the store.

use std::sync::Arc;

use messenger_auth::{TokenConfig, build};
use messenger_core::{Clock, ErrorKind};
use messenger_identity::Verifier;
use messenger_proto::auth::v1::{
    GetJwksRequest, LogoutAllRequest, LogoutRequest, WatchRevocationsRequest, WatchRevocationsResponse,
};
use messenger_rpc::{keys, request_as};
use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use crate::server::{PASSWORD, PATIENCE, Server, kind, session_of};

async fn next(stream: &mut Streaming<WatchRevocationsResponse>) -> WatchRevocationsResponse {
    let next = timeout(PATIENCE, stream.message());
    next.await.expect("in time").expect("open").expect("not ended")
}

/// The next that is not a heartbeat.
async fn news(stream: &mut Streaming<WatchRevocationsResponse>) -> WatchRevocationsResponse {
    loop {
        let page = next(stream).await;
        if !page.revocations.is_empty() {
            return page;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_then_live() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let mut services = server.services();
    let mut end_users = server.end_users().await;
    end_users.logout(ann.bearer(LogoutRequest {})).await.expect("logged out");

    let from_start = WatchRevocationsRequest { after_number: 0 };
    let mut stream = services.watch_revocations(from_start).await.expect("open").into_inner();
    let replayed = next(&mut stream).await;
    assert_eq!(replayed.revocations.len(), 1);
    assert_eq!(replayed.revocations[0].session_id, session_of(&ann.tokens.access_token));
    assert_eq!(replayed.head_number, replayed.revocations[0].number);

    let after_number = replayed.head_number;
    let mut later =
        services.watch_revocations(WatchRevocationsRequest { after_number }).await.expect("open").into_inner();
    let head = next(&mut later).await;
    assert!(head.revocations.is_empty() && head.head_number == after_number);

    let second = server.login("ann@example.org", PASSWORD).await.expect("logged in").tokens.expect("given");
    services.logout_all(request_as(ann.id(), LogoutAllRequest {})).await.expect("logged out");
    for stream in [&mut stream, &mut later] {
        let live = news(stream).await;
        assert_eq!(live.revocations.len(), 1);
        assert!(live.revocations[0].session_id.is_empty() && live.head_number > after_number);
    }
    server.until_revoked(&second.access_token).await;

    // From beyond the list, as after its store was restored: begins anew.
    let beyond = WatchRevocationsRequest { after_number: 1_000_000 };
    let mut anew = services.watch_revocations(beyond).await.expect("open").into_inner();
    assert_eq!(next(&mut anew).await.revocations.len(), 2);
    let negative = services.watch_revocations(WatchRevocationsRequest { after_number: -1 }).await;
    assert_eq!(kind(&negative.expect_err("refused")), ErrorKind::ValidationFailed);
    // What no access token can be older than is left out.
    server.advance(30 * 60);
    let mut old = services.watch_revocations(from_start).await.expect("open").into_inner();
    assert!(next(&mut old).await.revocations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_hear_of_it() {
    let server = Server::start().await;
    let clock: Arc<dyn Clock> = server.clock.clone();
    let other = build(&TokenConfig::default(), server.test_store.open().await, clock.clone()).await.expect("built");
    other.start(&server.shutdown);
    let ann = server.registered("Ann", "ann@example.org").await;
    let token = &ann.tokens.access_token;
    other.verifier().verify(token).expect("both sign with the same key");

    let verifier = Arc::new(Verifier::new(TokenConfig::default().rules(), clock));
    let jwks = server.services().get_jwks(GetJwksRequest::default()).await.expect("given").into_inner().jwks;
    verifier.set_keys(&jwks).expect("keys");
    verifier.set_caught_up();
    verifier.verify(token).expect("good");
    let (heard, mut hears) = mpsc::channel(8);
    let follow = keys::follow_revocations(server.services(), verifier.clone(), server.shutdown.token.clone(), {
        move |revocation| heard.try_send(*revocation).expect("room")
    });
    server.shutdown.spawn(follow);
    server.services().logout_all(request_as(ann.id(), LogoutAllRequest {})).await.expect("logged out");
    let revocation = timeout(PATIENCE, hears.recv()).await.expect("in time").expect("heard");
    assert_eq!(revocation.user_id, ann.id());
    assert_eq!(verifier.verify(token).expect_err("revoked").kind(), ErrorKind::TokenRevoked);
    let polled = async {
        while other.verifier().verify(token).is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, polled).await.expect("polled in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_process() {
    let server = Server::start().await;
    let mut services = server.services();
    let mut stream =
        services.watch_revocations(WatchRevocationsRequest { after_number: 0 }).await.expect("open").into_inner();
    next(&mut stream).await;
    assert!(server.shutdown.drain(PATIENCE).await, "a stream does not hold the process");
}
