//! Refresh tokens over the wire.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use messenger_auth::{TokenConfig, build, model::Rotation};
use messenger_core::{Clock as _, ErrorKind, ManualClock};
use messenger_proto::auth::v1::{
    ListSessionsRequest, LogoutAllRequest, LogoutRequest, RefreshTokenRequest, Tokens,
    auth_service_client::AuthServiceClient,
};
use messenger_rpc::{RpcChannel, Service, request_as};

use crate::server::{NOW, Server, Services, claims, kind, session_of};

async fn refresh(mut services: Services, token: &str) -> Result<Tokens, ErrorKind> {
    let request = RefreshTokenRequest { refresh_token: token.to_owned() };
    let answer = services.refresh_token(request).await.map_err(|status| kind(&status))?;
    Ok(answer.into_inner().tokens.expect("given"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let mut tokens = ann.tokens.clone();
    for _ in 0..3 {
        server.advance(600);
        let next = refresh(server.services(), &tokens.refresh_token).await.expect("refreshed");
        assert_ne!(next.refresh_token, tokens.refresh_token);
        assert_ne!(claims(&next.access_token)["jti"], claims(&tokens.access_token)["jti"]);
        assert_eq!(session_of(&next.access_token), session_of(&tokens.access_token));
        server.knock(&next.access_token).await.expect("good");
        tokens = next;
    }
    assert_eq!(server.knock(&ann.tokens.access_token).await, Err(ErrorKind::TokenExpired));
    // A copy of an old token shows up.
    assert_eq!(refresh(server.services(), &ann.tokens.refresh_token).await.err(), Some(ErrorKind::TokenRevoked));
    server.until_revoked(&tokens.access_token).await;
    assert_eq!(refresh(server.services(), &tokens.refresh_token).await.err(), Some(ErrorKind::TokenRevoked));
    let sessions = server.in_process().list_sessions(request_as(ann.id(), ListSessionsRequest {})).await;
    assert!(sessions.expect("listed").into_inner().sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_there_is_one_successor() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let answers = join_all((0..10).map(|_| refresh(server.services(), &ann.tokens.refresh_token))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("refreshed")).collect();
    assert!(answers.iter().all(|tokens| tokens.refresh_token == answers[0].refresh_token));
    server.advance(10);
    let late = refresh(server.in_process(), &ann.tokens.refresh_token).await.expect("within the grace");
    assert_eq!(late.refresh_token, answers[0].refresh_token);
    let next = refresh(server.in_process(), &late.refresh_token).await.expect("the successor is good");
    server.advance(1);
    assert_eq!(refresh(server.in_process(), &ann.tokens.refresh_token).await.err(), Some(ErrorKind::TokenRevoked));
    assert_eq!(refresh(server.in_process(), &next.refresh_token).await.err(), Some(ErrorKind::TokenRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_ends_nothing() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let good = &ann.tokens.refresh_token;
    // The session is right, the secret is not.
    let forged = format!("{}{}", &good[..30], if good.ends_with("AAAA") { "B" } else { "A" }.repeat(40));
    let long = "A".repeat(100_000);
    for token in ["", "x", "a.b.c", &ann.tokens.access_token, &forged, &good[1..], &long] {
        let error = refresh(server.services(), token).await.expect_err("no token");
        assert_eq!(error, ErrorKind::Unauthenticated);
    }
    assert!(server.knock(good).await.is_err(), "a refresh token is no access token");
    refresh(server.services(), good).await.expect("still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_logout_or_its_time() {
    let server = Server::start().await;
    let (ann, bob) =
        tokio::join!(server.registered("Ann", "ann@example.org"), server.registered("Bob", "bob@example.org"));
    let mut end_users = server.end_users().await;
    end_users.logout(ann.bearer(LogoutRequest {})).await.expect("logged out");
    assert_eq!(refresh(server.services(), &ann.tokens.refresh_token).await.err(), Some(ErrorKind::TokenRevoked));
    let day = 86_400;
    server.advance(29 * day);
    let tokens = refresh(server.services(), &bob.tokens.refresh_token).await.expect("used in time");
    server.advance(29 * day);
    let tokens = refresh(server.services(), &tokens.refresh_token).await.expect("each use counts anew");
    server.advance(30 * day);
    assert_eq!(refresh(server.services(), &tokens.refresh_token).await.err(), Some(ErrorKind::Unauthenticated));
}

/// Whoever has a copy refreshes with it so often that nobody can follow, and the token it was copied from shows up after.
#[tokio::test(flavor = "multi_thread")]
async fn row_35_a_copied_token_is_known_however_often_the_session_went_on() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let copied = &ann.tokens.refresh_token;
    let (store, used_at) = (server.test_store.open().await, server.clock.now());
    let session_id = session_of(&ann.tokens.access_token).parse().expect("a UUID");
    let mut from = [0; 32];
    from.copy_from_slice(digest(&SHA256, &URL_SAFE_NO_PAD.decode(copied).expect("base64")).as_ref());
    let millionth = Rotation {
        session_id,
        generation: 1_000_000,
        from,
        to: [1; 32],
        used_at,
        expires_at: used_at.plus(Duration::from_secs(86_400)),
        forget_before: used_at,
    };
    assert!(store.rotate(millionth).await.expect("answered"));
    server.advance(11);
    assert_eq!(refresh(server.services(), copied).await.err(), Some(ErrorKind::TokenRevoked));
    server.until_revoked(&ann.tokens.access_token).await;
    let sessions = server.in_process().list_sessions(request_as(ann.id(), ListSessionsRequest {})).await;
    assert!(sessions.expect("listed").into_inner().sessions.is_empty(), "and the copy is worth nothing any more");
}

/// Of two processes one has a clock that is behind. Refreshed by the other: for the first time, and once more within the
/// grace.
#[tokio::test(flavor = "multi_thread")]
async fn row_35_no_token_of_a_refresh_outlives_the_end_of_all_sessions() {
    let server = Server::start().await;
    let ann = server.registered("Ann", "ann@example.org").await;
    let clock = Arc::new(ManualClock::new(NOW));
    let behind = build(&TokenConfig::default(), server.test_store.open().await, clock).await.expect("built");
    behind.start(&server.shutdown);
    let (channel, slot) = RpcChannel::in_process(Service::Gateway);
    slot.fill(behind.routes(server.credential.trust(), &server.shutdown));
    let behind = AuthServiceClient::new(channel);

    server.advance(4);
    let first = refresh(server.services(), &ann.tokens.refresh_token).await.expect("refreshed");
    server.advance(4);
    let repeated = refresh(server.services(), &ann.tokens.refresh_token).await.expect("within the grace");
    refresh(behind.clone(), &first.refresh_token).await.expect("refreshed where it is earlier");
    behind.clone().logout_all(request_as(ann.id(), LogoutAllRequest {})).await.expect("logged out");
    for tokens in [ann.tokens, first, repeated] {
        server.until_revoked(&tokens.access_token).await;
    }
}
