//! Socket.IO 5: the cases of the published suite that apply to one namespace and text, and packets nobody should send.

use serde_json::{Value, json};

use crate::{
    client::Socket,
    server::{Server, Settings},
};

fn json_after(prefix: &str, text: &str) -> Value {
    let json = text.strip_prefix(prefix).unwrap_or_else(|| panic!("{text} does not begin with {prefix}"));
    serde_json::from_str(json).expect("JSON")
}

#[tokio::test]
async fn connects_with_a_token() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let auth = format!(r#"40{{"token":"{}"}}"#, user.token);
    let namespaced = format!(r#"40/,{{"token":"{}"}}"#, user.token);
    for packet in [auth, namespaced] {
        let mut socket = Socket::engine(&server).await;
        socket.send(&packet).await;
        let connected = json_after("40", &socket.text().await);
        assert!(connected["sid"].is_string() && connected["pid"].is_string(), "{connected}");
        assert_eq!(connected.as_object().map(serde_json::Map::len), Some(2));
    }
}

#[tokio::test]
async fn a_token_may_come_with_the_first_request() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let header = format!("Bearer {}", user.token);
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::try_open(&server, path, &[("authorization", &header)]).await.expect("accepted");
    assert!(socket.text().await.starts_with('0'));
    socket.send("40").await;
    assert!(json_after("40", &socket.text().await)["sid"].is_string());
}

#[tokio::test]
async fn refuses_what_is_no_token_and_lets_try_again() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let mut socket = Socket::engine(&server).await;
    let deep = format!(r#"40{{"x":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    for packet in [
        "40",
        "40{}",
        r#"40{"token":null}"#,
        r#"40{"token":7}"#,
        r#"40{"token":["a"]}"#,
        r#"40{"token":{}}"#,
        r#"40{"token":""}"#,
        r#"40{"token":"a.b.c"}"#,
        r#"40{"__proto__":{"token":"a"}}"#,
        &deep,
    ] {
        socket.send(packet).await;
        let refused = json_after("44", &socket.text().await);
        assert_eq!(refused["data"], json!({ "code": "UNAUTHENTICATED", "retryable": false }), "{packet:.60}");
        assert!(refused["message"].is_string());
    }
    socket.send(&format!(r#"40{{"token":"{}","pid":7,"offset":{{}}}}"#, user.token)).await;
    assert!(json_after("40", &socket.text().await)["sid"].is_string());
}

#[tokio::test]
async fn leaving_the_namespace_leaves_the_engine_open() {
    let server = Server::start(Settings::hasty()).await;
    let user = server.register().await;
    let mut socket = Socket::connected(&server, &user.token).await;
    socket.send("41").await;
    assert_eq!(socket.text().await, "2");
    socket.send("3").await;
    socket.send("41").await;
    socket.send(&format!(r#"40{{"token":"{}"}}"#, user.token)).await;
    loop {
        match &*socket.text().await {
            "2" => socket.send("3").await,
            text => break assert!(json_after("40", text)["sid"].is_string()),
        }
    }
}

#[tokio::test]
async fn events_are_answered_under_their_ack_id() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let mut socket = Socket::connected(&server, &user.token).await;
    for ack in ["0", "456", "9007199254740993", "18446744073709551615"] {
        socket.send(&format!(r#"42{ack}["no_such_event",1,"2",{{"3":[false]}}]"#)).await;
        let answer = json_after(&format!("43{ack}"), &socket.text().await);
        assert_eq!(answer[0]["error"]["code"], "UNKNOWN_EVENT", "{answer}");
    }
    socket.send(r#"42["no_such_event",1,"2",{"3":[true]}]"#).await;
    let event = json_after("42", &socket.text().await);
    assert_eq!((&event[0], &event[1]["code"]), (&json!("error"), &json!("UNKNOWN_EVENT")));
    assert_eq!(event.as_array().map(Vec::len), Some(2), "errors carry no cursor");
}

#[tokio::test]
async fn a_frame_over_64_kib_is_answered_and_over_1_mib_cuts() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let mut socket = Socket::connected(&server, &user.token).await;
    let event = |bytes| format!(r#"423["send_message",{{"content":"{}"}}]"#, "x".repeat(bytes));
    socket.send(&event(70_000)).await;
    let error = json_after("433", &socket.text().await)[0]["error"].take();
    assert_eq!((&error["code"], &error["event"]), (&json!("PAYLOAD_TOO_LARGE"), &json!("send_message")));
    socket.send(&event(1_100_000)).await;
    assert_eq!(socket.close_code().await, 1009);
}
