//! Connections end at their age. Who calls notices nothing, and streams begin anew.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use messenger_core::{Clock as _, SystemClock, UserId};
use messenger_identity::{TokenRules, Verifier};
use messenger_proto::auth::v1::{Revocation, WatchRevocationsRequest};
use messenger_rpc::{GrpcArgs, keys, timestamp};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    neighbour::address,
    server::Server,
    shapes::{Running, ask, call, remote, start_with},
    wire::{GOAWAY, Wire},
};

/// The shortest that can be asked for.
const AGE: Duration = Duration::from_secs(1);
/// By then every stream of the first connection was cut: after its age, 10 s and half its age.
const CUT_BY: Duration = Duration::from_secs(13);
/// Revocations the server has still: whoever came back without the number of the last one would hear them again.
const KEPT: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);

async fn start(server: &Server) -> Running {
    start_with(server, "127.0.0.1:0", GrpcArgs { grpc_connection_age: AGE, ..GrpcArgs::default() }).await
}

#[tokio::test]
async fn a_connection_is_told_to_go_and_cut_when_it_stays() {
    let running = start(&Server::new()).await;
    let (_writer, reading, _) = Wire::open(address(&running), &[]).await.expect("open").drain();
    let end = timeout(PATIENCE, reading).await.expect("in time").expect("no panic").expect("a GOAWAY");
    assert_eq!((end.kind, end.error()), (GOAWAY, 0));
    let request = WatchRevocationsRequest::default();
    let mut stream = remote(&running).watch_revocations(request).await.expect("open").into_inner();
    let until_cut = async { while let Ok(Some(_)) = stream.message().await {} };
    timeout(PATIENCE, until_cut).await.expect("a stream does not hold its connection for ever");
}

/// However short the age is: a call has the time it has on any connection.
#[tokio::test]
async fn a_call_under_way_is_finished() {
    let server = Server::new();
    let running = start(&server).await;
    let mut client = remote(&running);
    let under_way = tokio::spawn(async move { call(&mut client, ask("wait")).await });
    server.0.is_entered.notified().await;
    sleep(4 * AGE).await;
    server.0.may_finish.notify_one();
    under_way.await.expect("no panic").expect("answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_what_follows_go_on() {
    let server = Server::new();
    let running = start(&server).await;
    let (mut client, shutdown) = (remote(&running), CancellationToken::new());
    let verifier = Arc::new(Verifier::new(TokenRules::default(), Arc::new(SystemClock)));
    let (heard, mut hearing) = mpsc::channel(16);
    let follow = keys::follow_revocations(remote(&running), verifier, shutdown.clone(), move |revocation| {
        heard.try_send(revocation.number).expect("room");
    });
    let following = tokio::spawn(follow);
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < CUT_BY {
        call(&mut client, ask("caller")).await.expect("answered, on whichever connection");
        number += 1;
        let now = SystemClock.now();
        let (user_id, revoked_at) = (UserId::new(now).to_string(), Some(timestamp(now)));
        let revocation = Revocation { number, user_id, revoked_at, ..Revocation::default() };
        server.0.revocations.send_modify(|all| {
            all.push(revocation);
            all.drain(..all.len().saturating_sub(KEPT));
        });
        let next = timeout(PATIENCE, hearing.recv()).await.expect("in time");
        assert_eq!(next, Some(number), "each once, in order");
    }
    shutdown.cancel();
    following.await.expect("ended");
}
