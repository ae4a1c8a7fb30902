//! Refresh tokens over the wire.

use futures_util::future::join_all;
use messenger_core::ErrorKind;
use messenger_proto::auth::v1::{ListSessionsRequest, LogoutRequest, RefreshTokenRequest, Tokens};
use messenger_rpc::request_as;

use crate::server::{Server, Services, claims, kind, session_of};

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
