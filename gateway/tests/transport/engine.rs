//! Engine.IO 4: the cases of the published suite, with Socket.IO packets where the suite echoes texts.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Polling, Socket, in_time},
    server::{Server, Settings},
};

const NEVER: &str = "/socket.io/?EIO=4&transport=websocket";

fn handshake(packet: &str) -> Value {
    let mut value: Value = serde_json::from_str(packet.strip_prefix('0').expect("open")).expect("JSON");
    assert_eq!(value["sid"].take().as_str().map(str::len), Some(20));
    value
}

fn expected(upgrades: &Value) -> Value {
    json!({ "sid": null, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": 65_536 })
}

#[tokio::test]
async fn opens_by_polling_and_by_websocket() {
    let server = Server::start(Settings::hasty()).await;
    let answer = reqwest::get(server.url("/socket.io/?EIO=4&transport=polling")).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=UTF-8");
    assert!(answer.headers().get("set-cookie").is_none());
    assert_eq!(handshake(&answer.text().await.expect("a text")), expected(&json!(["websocket"])));
    let mut socket = Socket::open(&server, NEVER).await;
    assert_eq!(handshake(&socket.text().await), expected(&json!([])));
}

#[tokio::test]
async fn refuses_what_is_no_handshake() {
    let server = Server::start(Settings::default()).await;
    let long_sid = format!("EIO=4&transport=polling&sid={}", "x".repeat(10_000));
    let http = reqwest::Client::new();
    for (method, query, code, message) in [
        (Method::GET, "transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=99&transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=abc&transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=4", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=abc", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=constructor", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=polling&transport=polling", 3, "Bad request"),
        (Method::GET, "EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        (Method::GET, "EIO=4&transport=polling&sid=", 1, "Session ID unknown"),
        (Method::GET, &long_sid, 1, "Session ID unknown"),
        (Method::GET, "EIO=4&transport=websocket", 3, "Bad request"),
        (Method::POST, "EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        (Method::POST, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling&sid=unknown", 3, "Bad request"),
    ] {
        let answer = http.request(method, server.url(&format!("/socket.io/?{query}"))).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!((&body["code"], &body["message"]), (&json!(code), &json!(message)), "{query}");
        assert_eq!(body["hint"].is_string(), message == "Session ID unknown", "{query}");
    }
    for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"] {
        let refused = Socket::try_open(&server, &format!("/socket.io/?{query}"), &[]).await;
        assert_eq!(refused.err().expect(query).status(), 400);
    }
}

#[tokio::test]
async fn a_payload_of_several_packets_is_read_in_order() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    assert_eq!(polling.post("40/a\u{1e}40/b\u{1e}40/c").await, (StatusCode::OK, "ok".to_owned()));
    let refused = |name| format!(r#"44/{name},{{"message":"Invalid namespace"}}"#);
    let expected = ["a", "b", "c"].map(refused).join("\u{1e}");
    assert_eq!(polling.poll().await, (StatusCode::OK, expected));
}

#[tokio::test]
async fn an_invalid_packet_ends_the_session() {
    let server = Server::start(Settings::default()).await;
    for body in ["abc", "", "4ok\u{1e}", "0", "2", "5", "6", "40\u{1e}bAQIDBA=="] {
        let polling = Polling::open(&server).await;
        assert_eq!(polling.post(body).await.0, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    let polling = Polling::open(&server).await;
    assert_eq!(polling.post(&b"4\xff"[..]).await.0, StatusCode::BAD_REQUEST);
    for text in ["abc", "", "0", "2", "2probe", "5", "6", "bAQIDBA=="] {
        let mut socket = Socket::engine(&server).await;
        socket.send(text).await;
        assert_eq!(socket.close_code().await, 1002, "{text}");
    }
    let mut socket = Socket::engine(&server).await;
    socket.send_message(Message::binary(vec![1, 2, 3, 4])).await;
    assert_eq!(socket.close_code().await, 1002);
}

#[tokio::test]
async fn a_second_poll_ends_the_session() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    // Whichever comes second is refused, and the first is told the end.
    let (one, other) = tokio::join!(polling.poll(), polling.poll());
    let (first, second) = if one.0 == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!(first, (StatusCode::OK, "1".to_owned()));
    assert_eq!(second.0, StatusCode::BAD_REQUEST);
    assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_cancelled_poll_ends_the_session() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    {
        let poll = polling.poll();
        tokio::pin!(poll);
        // A ping would be the first thing to answer it: it hangs, then it is dropped.
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), &mut poll).await.is_err());
    }
    assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pings_and_waits_for_pongs() {
    let server = Server::start(Settings::hasty()).await;
    let polling = Polling::open(&server).await;
    let mut socket = Socket::engine(&server).await;
    for _ in 0..3 {
        assert_eq!(polling.poll().await, (StatusCode::OK, "2".to_owned()));
        assert_eq!(polling.post("3").await, (StatusCode::OK, "ok".to_owned()));
        assert_eq!(socket.text().await, "2");
        socket.send("3").await;
    }
}

#[tokio::test]
async fn silence_ends_the_session() {
    let server = Server::start(Settings::hasty()).await;
    let polling = Polling::open(&server).await;
    assert_eq!(polling.poll().await.1, "2");
    assert_eq!(polling.poll().await, (StatusCode::OK, "1".to_owned()), "the last poll is told");
    assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
    let mut socket = Socket::engine(&server).await;
    assert_eq!(socket.close_code().await, 1008);
}

#[tokio::test]
async fn a_client_that_closes_is_gone() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    let poll = polling.poll();
    let close = async {
        tokio::task::yield_now().await;
        polling.post("1").await
    };
    let (poll, close) = in_time(async { tokio::join!(biased; poll, close) }).await;
    assert_eq!(close, (StatusCode::OK, "ok".to_owned()));
    if poll.0 == StatusCode::OK {
        assert_eq!(poll.1, "6");
    }
    assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
    let mut socket = Socket::engine(&server).await;
    socket.send("1").await;
    assert_eq!(socket.close_code().await, 1000);
}

#[tokio::test]
async fn upgrades_from_polling_to_a_websocket() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
    assert_eq!(polling.poll().await, (StatusCode::OK, "6".to_owned()));
    socket.send("5").await;
    socket.send("40/a").await;
    assert_eq!(socket.text().await, r#"44/a,{"message":"Invalid namespace"}"#);
    assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
    assert_eq!(polling.post("40").await.0, StatusCode::BAD_REQUEST);
    let second = Socket::try_open(&server, &polling.upgrade_path(), &[]).await;
    assert_eq!(second.err().expect("refused").status(), 400);
    socket.send("40/b").await;
    assert_eq!(socket.text().await, r#"44/b,{"message":"Invalid namespace"}"#);
}

#[tokio::test]
async fn a_poll_beside_the_last_step_of_an_upgrade_is_refused() {
    let server = Server::start(Settings::default()).await;
    for _ in 0..20 {
        let polling = Polling::open(&server).await;
        let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        socket.send("5").await;
        assert_eq!(polling.poll().await.0, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_failed_probe_leaves_polling_as_it_was() {
    let server = Server::start(Settings::default()).await;
    let polling = Polling::open(&server).await;
    for texts in [&["5"][..], &["2"], &["2probe", "2probe"], &["2probe", "40"]] {
        let mut socket = Socket::open(&server, &polling.upgrade_path()).await;
        for text in texts {
            socket.send(text).await;
        }
        assert_eq!(socket.close_code().await, 1002, "{texts:?}");
    }
    let mut gone = Socket::open(&server, &polling.upgrade_path()).await;
    gone.send("2probe").await;
    assert_eq!(gone.text().await, "3probe");
    let mut second = Socket::open(&server, &polling.upgrade_path()).await;
    second.send("2probe").await;
    assert_eq!(second.close_code().await, 1002, "one probe at a time");
    drop(gone);
    assert_eq!(polling.post("40/a").await, (StatusCode::OK, "ok".to_owned()));
    assert_eq!(polling.poll().await.1, r#"44/a,{"message":"Invalid namespace"}"#);
}
