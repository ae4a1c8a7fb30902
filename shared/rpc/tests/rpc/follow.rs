//! A verifier kept supplied.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use messenger_core::{Clock as _, ErrorKind, SessionId, SystemClock, UserId};
use messenger_identity::{AccessClaims, Identity, TokenRules, Verifier, jwks};
use messenger_proto::auth::v1::Revocation;
use messenger_rpc::{keys, timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    server::Server,
    shapes::{remote, start, start_at},
};

fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::new(TokenRules::default(), Arc::new(SystemClock)))
}

#[tokio::test]
async fn keys_come_when_auth_does() {
    let server = Server::new();
    let running = start(&server).await;
    let address = running.url.trim_start_matches("http://").to_owned();
    let client = remote(&running);
    running.shutdown.cancel();
    running.task.await.expect("no panic").expect("an orderly end");

    let (verifier, shutdown) = (verifier(), CancellationToken::new());
    verifier.set_caught_up();
    let task = tokio::spawn(keys::follow_jwks(client, verifier.clone(), shutdown.clone()));
    let _again = start_at(&server, &address).await;
    let now = SystemClock.now();
    let expires_at = now.plus(Duration::from_secs(60));
    let identity = Identity { user_id: UserId::new(now), session_id: SessionId::new(now), issued_at: now, expires_at };
    let token = server.0.signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned()));
    while verifier.verify(&token).is_err() {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    task.await.expect("ended");
}

fn revocation(number: i64) -> Revocation {
    let now = SystemClock.now();
    Revocation {
        number,
        user_id: UserId::new(now).to_string(),
        revoked_at: Some(timestamp(now)),
        ..Revocation::default()
    }
}

#[tokio::test]
async fn revocations_come_each_once_across_a_restart() {
    let server = Server::new();
    let running = start(&server).await;
    let address = running.url.trim_start_matches("http://").to_owned();
    let (verifier, shutdown) = (verifier(), CancellationToken::new());
    let (heard, mut hearing) = mpsc::channel(16);
    let task = tokio::spawn(keys::follow_revocations(
        remote(&running),
        verifier.clone(),
        shutdown.clone(),
        move |revocation| heard.try_send(*revocation).expect("room"),
    ));
    server.0.revocations.send_modify(|all| all.push(revocation(1)));
    let first = hearing.recv().await.expect("heard");
    let now = SystemClock.now();
    let before = first.revoked_at.minus(Duration::from_secs(1));
    let session_id = SessionId::new(now);
    let identity = Identity { user_id: first.user_id, session_id, issued_at: before, expires_at: now };
    assert_eq!(first.number, 1);
    assert!(verifier.is_revoked(&identity), "known to the verifier before anybody else hears");

    running.shutdown.cancel();
    server.0.streams_end.notify_waiters();
    running.task.await.expect("no panic").expect("an orderly end");
    server.0.revocations.send_modify(|all| all.push(revocation(2)));
    let _again = start_at(&server, &address).await;
    assert_eq!(hearing.recv().await.expect("heard").number, 2);
    shutdown.cancel();
    task.await.expect("ended");
}

/// Until it knows what was revoked before it started, a process believes no token; then only those that were not.
#[tokio::test]
async fn no_token_is_believed_before_the_revocations_are_known() {
    let server = Server::new();
    let running = start(&server).await;
    let (verifier, shutdown) = (verifier(), CancellationToken::new());
    verifier.set_keys(&jwks(&[server.0.signer.jwk()])).expect("a key");
    let now = SystemClock.now();
    let token_of = |user_id| {
        let (issued_at, expires_at) = (now.minus(Duration::from_secs(1)), now.plus(Duration::from_secs(60)));
        let identity = Identity { user_id, session_id: SessionId::new(now), issued_at, expires_at };
        server.0.signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned()))
    };
    let [early, middle, late] = [1, 2, 3].map(revocation);
    let ended = token_of(late.user_id.parse().expect("a UUID"));
    let good = token_of(UserId::new(now));
    let kind = |token: &str| verifier.verify(token).map(drop).map_err(|error| error.kind());
    assert_eq!((kind(&good), kind(&ended)), (Err(ErrorKind::Unavailable), Err(ErrorKind::Unavailable)));

    server.0.has_more.store(true, Ordering::Relaxed);
    server.0.revocations.send_modify(|all| all.push(early));
    let (heard, mut hearing) = mpsc::channel(16);
    let follow = keys::follow_revocations(remote(&running), verifier.clone(), shutdown.clone(), move |revocation| {
        heard.try_send(revocation.number).expect("room");
    });
    let task = tokio::spawn(follow);
    assert_eq!(hearing.recv().await, Some(1));
    server.0.revocations.send_modify(|all| all.push(middle));
    assert_eq!(hearing.recv().await, Some(2));
    assert_eq!(kind(&good), Err(ErrorKind::Unavailable), "the first was not all");

    server.0.has_more.store(false, Ordering::Relaxed);
    server.0.revocations.send_modify(|all| all.push(late));
    while kind(&good).is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(kind(&ended), Err(ErrorKind::TokenRevoked));
    shutdown.cancel();
    task.await.expect("ended");
}
