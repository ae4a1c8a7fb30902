//! One service at several addresses: calls go in turn to those that answer.

use std::collections::BTreeSet;

use messenger_core::ErrorKind;
use messenger_proto::auth::v1::{GetJwksRequest, auth_service_client::AuthServiceClient};
use messenger_rpc::{RpcChannel, Service};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    server::{Server, credential},
    shapes::{Client, Running, ask, call, start},
};

fn client(urls: &[&str]) -> Client {
    AuthServiceClient::new(RpcChannel::remote(Service::Auth, &urls.join(", "), credential()).expect("URLs"))
}

/// Who answered: each server has a key of its own.
async fn answered_by(client: &mut Client) -> String {
    client.get_jwks(GetJwksRequest::default()).await.expect("one of them is there").into_inner().jwks
}

/// Calls until so many have answered.
async fn until_answered_by(client: &mut Client, count: usize) {
    let mut servers = BTreeSet::new();
    while servers.len() < count {
        servers.insert(answered_by(client).await);
    }
}

async fn end(running: Running) {
    running.shutdown.cancel();
    running.task.await.expect("no panic").expect("an orderly end");
}

#[tokio::test]
async fn all_are_asked_and_one_that_ends_is_not_missed() {
    let (one, other) = (start(&Server::new()).await, start(&Server::new()).await);
    let mut client = client(&[&one.url, &other.url]);
    until_answered_by(&mut client, 2).await;
    end(one).await;
    let mut left = BTreeSet::new();
    for _ in 0..20 {
        left.insert(answered_by(&mut client).await);
    }
    assert_eq!(left.len(), 1);
    end(other).await;
    let error = call(&mut client, ask("caller")).await.expect_err("nobody is left");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_passed_over() {
    // Accepted by the kernel, and by nobody else: a process that is frozen.
    let frozen = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let frozen = (format!("http://{}", frozen.local_addr().expect("bound")), frozen);
    let running = start(&Server::new()).await;
    let mut both = client(&[&frozen.0, &running.url]);
    for _ in 0..20 {
        call(&mut both, ask("caller")).await.expect("the other answers");
    }
    let error = call(&mut client(&[&frozen.0]), ask("caller")).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_name_stands_for_its_addresses() {
    let running = start(&Server::new()).await;
    let url = running.url.replace("127.0.0.1", "localhost");
    call(&mut client(&[&url]), ask("caller")).await.expect("localhost has this address, among others");
    let nobody =
        client(&["http://messenger.invalid:1"]).get_jwks(GetJwksRequest::default()).await.expect_err("no such name");
    assert_eq!(messenger_rpc::from_status(&nobody).kind(), ErrorKind::Unavailable);
}

/// Forwards one connection; aborting it cuts it.
async fn link(to: &Running) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let to = to.url.trim_start_matches("http://").to_owned();
    let task = tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.expect("a connection");
        let mut to = TcpStream::connect(to).await.expect("a server");
        let _ = copy_bidirectional(&mut from, &mut to).await;
    });
    (url, task)
}

#[tokio::test]
async fn a_harmless_call_that_is_cut_off_is_made_again_elsewhere() {
    let (cut, whole) = (Server::new(), Server::new());
    let (first, second) = (start(&cut).await, start(&whole).await);
    let (url, link) = link(&first).await;
    let mut client = client(&[&url, &second.url]);
    until_answered_by(&mut client, 2).await;
    let mut other = client.clone();
    // One of the two waits at the server that is cut off, whichever it is.
    let one = tokio::spawn(async move { call(&mut client, ask("wait")).await });
    let two = tokio::spawn(async move { call(&mut other, ask("wait")).await });
    cut.0.is_entered.notified().await;
    whole.0.is_entered.notified().await;
    link.abort();
    whole.0.is_entered.notified().await;
    for _ in 0..2 {
        whole.0.may_finish.notify_one();
        whole.0.is_finished.notified().await;
    }
    for waiting in [one, two] {
        waiting.await.expect("no panic").expect("answered");
    }
}
