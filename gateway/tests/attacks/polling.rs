//! Long polling used wrongly.

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    client::{Polling, Socket, in_time},
    world::World,
};

async fn connected(world: &World) -> Polling {
    let eve = world.register("eve").await;
    let polling = Polling::open(&world.server).await;
    assert_eq!(polling.post(format!(r#"40{{"token":"{}"}}"#, eve.token)).await.1, "ok");
    assert!(polling.poll().await.1.starts_with("40{"));
    polling
}

/// Bodies of a POST that end the session.
pub fn row_51() -> Vec<&'static [u8]> {
    vec![b"abc", b"", b"4ok\x1e", b"0", b"2", b"5", b"6", b"40\x1ebAQIDBA==", b"4\xff", b"\x1e\x1e\x1e"]
}

#[tokio::test]
async fn row_51_bodies_of_polling() {
    let world = World::start().await;
    for body in row_51() {
        let polling = Polling::open(&world.server).await;
        assert_eq!(polling.post(body).await.0, StatusCode::BAD_REQUEST, "{body:?}");
        assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST, "{body:?}");
    }
    let polling = connected(&world).await;
    assert_eq!(polling.post(vec![b'4'; 4 << 20]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let large = format!(r#"427["send_message",{{"content":"{}"}}]"#, "x".repeat(70_000));
    assert_eq!(polling.post(large).await.1, "ok");
    let answer = polling.poll().await.1;
    let answer: Value = serde_json::from_str(answer.strip_prefix("437").expect("the ack")).expect("JSON");
    assert_eq!(answer[0]["error"]["code"], "PAYLOAD_TOO_LARGE");
    assert_eq!(polling.post(["3"; 50_000].join("\u{1e}")).await.1, "ok");
    let octets = reqwest::Client::new()
        .post(world.server.url(&format!("/socket.io/?EIO=4&transport=polling&sid={}", polling.sid())))
        .header("content-type", "application/octet-stream")
        .body("3");
    assert_eq!(octets.send().await.expect("an answer").status(), StatusCode::BAD_REQUEST);
    assert_eq!(polling.post("3").await.1, "ok", "the session goes on");
    world.unharmed().await;
}

#[tokio::test]
async fn row_51_two_polls_at_once() {
    let world = World::start().await;
    let polling = connected(&world).await;
    let (one, other) = in_time(async { tokio::join!(polling.poll(), polling.poll()) }).await;
    let (first, second) = if one.0 == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!((first.1.as_str(), second.0), ("1", StatusCode::BAD_REQUEST));
    world.unharmed().await;
}

#[tokio::test]
async fn row_51_strangers_may_post_little() {
    let world = World::start().await;
    let polling = Polling::open(&world.server).await;
    assert_eq!(polling.post(vec![b'3'; 100_000]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    world.unharmed().await;
}

#[tokio::test]
async fn row_51_who_asks_without_end_and_never_polls_is_ended() {
    let world = World::start().await;
    let polling = Polling::open(&world.server).await;
    let _ = polling.post(vec!["40/x"; 1_000].join("\u{1e}")).await;
    let mut bodies = 0;
    loop {
        match polling.poll().await {
            (StatusCode::OK, _) => bodies += 1,
            (status, _) => break assert_eq!(status, StatusCode::BAD_REQUEST),
        }
    }
    assert!(bodies <= 5, "{bodies}");
    world.unharmed().await;
}

/// What a websocket says instead of `2probe` and `5`.
pub fn row_51_upgrades() -> Vec<Vec<&'static str>> {
    vec![
        vec!["5"],
        vec!["2"],
        vec!["3probe"],
        vec!["40{}"],
        vec!["2probe", "2probe"],
        vec!["2probe", "40"],
        vec!["2probe", "6"],
    ]
}

#[tokio::test]
async fn row_51_upgrades_that_are_none() {
    let world = World::start().await;
    let polling = connected(&world).await;
    for texts in row_51_upgrades() {
        let mut socket = Socket::open(&world.server, &polling.upgrade_path()).await;
        for text in &texts {
            socket.send(text).await;
        }
        assert_eq!(socket.close_code().await, 1002, "{texts:?}");
    }
    assert_eq!(polling.post("40/a").await.1, "ok", "polling goes on");
    world.unharmed().await;
}
