//! Long polling as stock clients use it: batches, bounds, order across an upgrade, and what the last poll is told.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::timeout;

use crate::{
    client::{Polling, Socket, in_time},
    server::{Server, Settings, User},
};

async fn connected(server: &Server, user: &User) -> Polling {
    let polling = Polling::open(server).await;
    assert_eq!(polling.post(format!(r#"40{{"token":"{}"}}"#, user.token)).await.1, "ok");
    let (status, body) = polling.poll().await;
    assert!(status == StatusCode::OK && body.starts_with(r#"40{"#), "{body}");
    polling
}

fn requests(count: usize) -> String {
    let packets: Vec<String> = (0..count).map(|ack| format!(r#"42{ack}["no_such_event",{{}}]"#)).collect();
    packets.join("\u{1e}")
}

fn ack_ids(body: &str) -> Vec<usize> {
    let id = |packet: &str| packet.strip_prefix("43")?.split_once('[')?.0.parse().ok();
    body.split('\u{1e}').map(|packet| id(packet).unwrap_or_else(|| panic!("not an ack: {packet}"))).collect()
}

#[tokio::test]
async fn answers_come_in_order_and_at_most_16_at_once() {
    let server = Server::start(Settings::default()).await;
    let polling = connected(&server, &server.register().await).await;
    assert_eq!(polling.post(requests(100)).await, (StatusCode::OK, "ok".to_owned()));
    let mut answered = Vec::new();
    while answered.len() < 100 {
        let ids = ack_ids(&polling.poll().await.1);
        assert!((1..=16).contains(&ids.len()));
        answered.extend(ids);
    }
    assert_eq!(answered, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn packets_queued_during_an_upgrade_arrive_once_and_in_order() {
    let server = Server::start(Settings::default()).await;
    let polling = connected(&server, &server.register().await).await;
    let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    assert_eq!(polling.post(requests(40)).await.1, "ok");
    let mut answered = ack_ids(&polling.poll().await.1);
    socket.send("5").await;
    while answered.len() < 40 {
        answered.extend(ack_ids(&socket.text().await));
    }
    assert_eq!(answered, (0..40).collect::<Vec<_>>());
    socket.send(r#"4299["no_such_event"]"#).await;
    assert_eq!(ack_ids(&socket.text().await), [99]);
}

#[tokio::test]
async fn what_waits_to_be_read_does_not_hold_up_an_upgrade() {
    let server = Server::start(Settings::default()).await;
    let polling = connected(&server, &server.register().await).await;
    let mut post = std::pin::pin!(polling.post(requests(400)));
    assert!(timeout(Duration::from_millis(100), &mut post).await.is_err(), "reading waits for polls");
    let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    assert_eq!(in_time(post).await.1, "ok");
    socket.send("5").await;
    socket.send(r#"42400["no_such_event"]"#).await;
    for expected in 0..=400 {
        assert_eq!(ack_ids(&socket.text().await), [expected]);
    }
}

#[tokio::test]
async fn a_waiting_poll_is_let_go_by_a_probe() {
    let server = Server::start(Settings::default()).await;
    let polling = connected(&server, &server.register().await).await;
    let probe = async {
        let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        socket
    };
    let (poll, mut socket) = Box::pin(in_time(async { tokio::join!(polling.poll(), probe) })).await;
    assert_eq!(poll, (StatusCode::OK, "6".to_owned()));
    socket.send("5").await;
    socket.send(r#"421["no_such_event"]"#).await;
    assert_eq!(ack_ids(&socket.text().await), [1]);
}

#[tokio::test]
async fn a_draining_server_tells_polls_and_sockets() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let polling = connected(&server, &user).await;
    let mut socket = Socket::connected(&server, &user.token).await;
    let mut unconnected = Socket::engine(&server).await;
    let token = format!("Bearer {}", user.token);
    let mut plain = Socket::try_open(&server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    let mut poll = std::pin::pin!(polling.poll());
    assert!(timeout(Duration::from_millis(100), &mut poll).await.is_err(), "the poll waits");
    let (ended, (_, told), code, other_code, plain_code) = in_time(async {
        tokio::join!(server.stop(), poll, socket.close_code(), unconnected.close_code(), plain.close_code())
    })
    .await;
    assert!(ended, "everything ends in time");
    assert!(told.starts_with(r#"42["server_draining""#), "{told}");
    assert_eq!([code, other_code, plain_code], [1012; 3]);
}
