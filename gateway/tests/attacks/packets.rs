//! Engine.IO and Socket.IO packets nobody should send, over the websocket.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Polling, Socket, in_time},
    server::Settings,
    world::{World, brief},
};

/// Method, query, and the code of the reference server's refusal.
pub fn row_37() -> Vec<(&'static str, String, u64)> {
    let refused = |method, query: &str, code| (method, query.to_owned(), code);
    vec![
        refused("GET", "transport=polling", 5),
        refused("GET", "EIO=3&transport=polling", 5),
        refused("GET", "EIO=99&transport=polling", 5),
        refused("GET", "EIO=&transport=polling", 5),
        refused("GET", "EIO=4%00&transport=polling", 5),
        refused("GET", "EIO=4", 0),
        refused("GET", "EIO=4&transport=abc", 0),
        refused("GET", "EIO=4&transport=constructor", 0),
        refused("GET", "EIO=4&transport=__proto__", 0),
        refused("GET", "EIO=4&transport=polling&transport=polling", 3),
        refused("GET", "EIO=4&transport=polling&sid=unknown", 1),
        refused("GET", "EIO=4&transport=polling&sid=", 1),
        ("GET", format!("EIO=4&transport=polling&sid={}", "x".repeat(10_000)), 1),
        refused("GET", "EIO=4&transport=polling&sid=%ff%00", 1),
        refused("GET", "EIO=4&transport=websocket", 3),
        refused("POST", "EIO=4&transport=polling&sid=unknown", 1),
        refused("POST", "EIO=4&transport=polling", 2),
        refused("PUT", "EIO=4&transport=polling", 2),
        refused("PUT", "EIO=4&transport=polling&sid=unknown", 3),
        refused("DELETE", "EIO=4&transport=websocket&sid=unknown", 3),
    ]
}

#[tokio::test]
async fn row_37_requests_that_open_no_engine() {
    let world = World::start().await;
    for (method, query, code) in row_37() {
        let url = world.server.url(&format!("/socket.io/?{query}"));
        let method = method.parse().expect("a method");
        let answer = reqwest::Client::new().request(method, url).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{}", brief(&query));
        assert_eq!(answer.json::<Value>().await.expect("JSON")["code"], code, "{}", brief(&query));
    }
    world.unharmed().await;
}

/// CONNECT packets.
pub fn row_38() -> Vec<String> {
    let texts = [
        "40",
        "40{}",
        r#"40{"token":null}"#,
        r#"40{"token":7}"#,
        r#"40{"token":["a"]}"#,
        r#"40{"token":{}}"#,
        r#"40{"token":""}"#,
        r#"40{"token":"\ud800"}"#,
        r#"40{"token":"a.b.c","pid":{},"offset":[]}"#,
        r#"40{"__proto__":{"token":"a"}}"#,
        r#"40{"constructor":{"prototype":{"token":"a"}}}"#,
        "40{",
        "40x",
        "40[]",
        "40null",
        r#"40"token""#,
        r#"40{"token":"a"}{"token":"b"}"#,
        r#"40{"token":"a","token":"b"}"#,
    ];
    let deep = |depth| format!(r#"40{{"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    texts.iter().map(|text| (*text).to_owned()).chain([deep(20_000), deep(50_000)]).collect()
}

#[tokio::test]
async fn row_38_connects_that_prove_nothing() {
    let world = World::start().await;
    for packet in row_38() {
        let mut socket = Socket::engine(&world.server).await;
        socket.send(&packet).await;
        if let Some(text) = socket.text_or_close().await {
            let refused: Value = serde_json::from_str(text.strip_prefix("44").expect("refused")).expect("JSON");
            let expected = json!({ "code": "UNAUTHENTICATED", "retryable": false });
            assert_eq!(refused["data"], expected, "{}", brief(&packet));
        }
    }
    world.unharmed().await;
}

#[tokio::test]
async fn row_38_connecting_again_and_again() {
    let world = World::start().await;
    let mut socket = Socket::engine(&world.server).await;
    let mut refused = 0;
    while refused < 1_000 {
        socket.send(r#"40{"token":"a.b.c"}"#).await;
        match socket.text_or_close().await {
            Some(text) => assert!(text.starts_with("44"), "{text}"),
            None => break,
        }
        refused += 1;
    }
    assert_eq!(refused, 32, "each costs a signature to verify");
    world.unharmed().await;
}

#[tokio::test]
async fn row_39_who_does_not_connect_is_closed() {
    let world = World::start_with(Settings::default().with("--connect-timeout=200ms")).await;
    let mut silent = Socket::engine(&world.server).await;
    assert_eq!(silent.close_code().await, 1008);
    let mut refused = Socket::engine(&world.server).await;
    refused.send("40").await;
    assert!(refused.text().await.starts_with("44"));
    assert_eq!(refused.close_code().await, 1008);
    let polling = Polling::open(&world.server).await;
    assert_eq!(polling.poll().await.1, "1");
    assert_eq!(polling.poll().await.0, 400);
    world.unharmed().await;
}

/// What comes before CONNECT, after CONNECT_ERROR and after DISCONNECT.
pub fn row_40() -> Vec<&'static str> {
    vec![
        r#"427["no_such_event",{}]"#,
        r#"427["send_message",{"content":"x"}]"#,
        r#"42["send_message",{"content":"x"}]"#,
        r#"427["sync",{"cursor":"x"}]"#,
        r#"427["refresh_token",{"token":"x"}]"#,
    ]
}

#[tokio::test]
async fn row_40_events_without_a_connection() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for event in row_40() {
        let mut before = Socket::engine(&world.server).await;
        before.send(event).await;
        assert_eq!(before.close_code().await, 1002, "{event}");
        let mut refused = Socket::engine(&world.server).await;
        refused.send("40").await;
        assert!(refused.text().await.starts_with("44"));
        refused.send(event).await;
        assert_eq!(refused.close_code().await, 1002, "{event}");
        let mut after = Socket::connected(&world.server, &eve.token).await;
        after.send("41").await;
        after.send(event).await;
        assert_eq!(after.close_code().await, 1002, "{event}");
    }
    world.unharmed().await;
}

pub fn row_42() -> Vec<String> {
    let names = ["/custom", "/admin,{\"token\":\"abc\"}", "/,x/", "/%00", "/\u{0}", "/../", "/__proto__", "/ä,{}"];
    names.iter().map(|name| format!("40{name}")).chain([format!("40/{}", "n".repeat(50_000))]).collect()
}

#[tokio::test]
async fn row_42_other_namespaces() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for packet in row_42() {
        let mut socket = Socket::connected(&world.server, &eve.token).await;
        socket.send(&packet).await;
        if let Some(text) = socket.text_or_close().await {
            assert!(text.starts_with("44/") && text.contains("Invalid namespace"), "{}", brief(&text));
            socket.send(r#"421["no_such_event",{}]"#).await;
            assert!(socket.text().await.starts_with("431["), "the connection goes on");
        }
    }
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    for number in 0..500 {
        socket.send(&format!("40/random{number}")).await;
        assert_eq!(socket.text().await, format!(r#"44/random{number},{{"message":"Invalid namespace"}}"#));
    }
    world.unharmed().await;
}

async fn all_close(packets: Vec<String>) {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for packet in packets {
        let mut socket = Socket::connected(&world.server, &eve.token).await;
        socket.send(&packet).await;
        assert_eq!(socket.close_code().await, 1002, "{}", brief(&packet));
    }
    world.unharmed().await;
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub fn row_43() -> Vec<String> {
    let mut packets = texts(&[
        "",
        "0",
        "2",
        "2probe",
        "5",
        "6",
        "7",
        "abc",
        "bAQIDBA==",
        "4",
        "4abc",
        "47",
        "49",
        "4x",
        "4 2[\"typing\"]",
        "42",
        "42{}",
        "42[]",
        "42[null]",
        "42[{}]",
        "42[[\"a\"]]",
        "42[\"typing\"",
        "42[\"typing\",]",
        "42[\"typing\"]x",
        "42\"typing\"",
        "42[\"disconnect\"]",
        "42[\"connect\",{}]",
        "42[\"newListener\",1]",
        "42/x,[\"a\"]",
        "40",
        "40[]",
    ]);
    packets.push(format!("42[\"typing\",{}", "[".repeat(50_000)));
    packets.push(format!("42[\"typing\",{}", "{\"a\":".repeat(10_000)));
    packets
}

#[tokio::test]
async fn row_43_malformed_packets() {
    all_close(row_43()).await;
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    socket.send_message(Message::binary(vec![1, 2, 3, 4])).await;
    assert_eq!(socket.close_code().await, 1002);
    world.unharmed().await;
}

pub fn row_45() -> Vec<String> {
    let mut packets = texts(&[
        "42-1[\"typing\"]",
        "421.5[\"typing\"]",
        "421e3[\"typing\"]",
        "42+1[\"typing\"]",
        "420x1[\"typing\"]",
        "4218446744073709551616[\"typing\"]",
        "42abc[\"message-with-ack\",1]",
        "42\u{661}[\"typing\"]",
    ]);
    packets.push(format!("42{}[\"typing\",{{}}]", "9".repeat(20_000)));
    packets
}

#[tokio::test]
async fn row_45_ack_ids_that_are_none() {
    all_close(row_45()).await;
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    for ack in ["0", "9007199254740993", "18446744073709551615"] {
        socket.send(&format!(r#"42{ack}["no_such_event"]"#)).await;
        assert!(socket.text().await.starts_with(&format!("43{ack}[")), "{ack} is a number");
    }
    world.unharmed().await;
}

pub fn row_46() -> Vec<String> {
    texts(&["431[]", r#"439999[{"error":{}}]"#, r#"44{"message":"x"}"#, "43/x,1[]", "44/x,\"no\""])
}

#[tokio::test]
async fn row_46_answers_to_what_was_never_asked() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    for packet in row_46() {
        socket.send(&packet).await;
    }
    socket.send(r#"421["no_such_event"]"#).await;
    assert!(socket.text().await.starts_with("431["), "they are ignored");
    world.unharmed().await;
}

pub fn row_46_malformed() -> Vec<String> {
    texts(&["43", "43[]", "43x", "431{}", "44", "44x", "441[]"])
}

#[tokio::test]
async fn row_46_malformed_answers() {
    all_close(row_46_malformed()).await;
}

pub fn row_47() -> Vec<String> {
    texts(&[
        "451-[\"typing\",{\"_placeholder\":true,\"num\":0}]",
        "4550-[\"a\"]",
        "4510000000000-[\"a\"]",
        "45-1-[\"a\"]",
        "450-[\"a\"]",
        "45[\"a\"]",
        "451-1[\"a\",{\"_placeholder\":true,\"num\":-1}]",
        "451-[\"a\",{\"_placeholder\":true,\"num\":99}]",
        "46",
        "461-1[{}]",
        "461-[]",
    ])
}

#[tokio::test]
async fn row_47_attachments() {
    all_close(row_47()).await;
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    socket.send_message(Message::binary(vec![0; 200_000])).await;
    assert_eq!(socket.close_code().await, 1002, "a binary message alone");
    world.unharmed().await;
}

#[tokio::test]
async fn row_52_who_never_answers_pings_is_closed() {
    let world = World::start().await;
    world.unharmed().await;
    let hasty = crate::server::Server::start(Settings::hasty()).await;
    let mut socket = Socket::engine(&hasty).await;
    assert_eq!(socket.close_code().await, 1008);
    let user = hasty.register().await;
    let mut connected = Socket::connected(&hasty, &user.token).await;
    assert_eq!(in_time(connected.close_code()).await, 1008);
    let polling = Polling::open(&hasty).await;
    assert_eq!(polling.poll().await.1, "2");
    assert_eq!(polling.poll().await.1, "1", "the last poll is told");
    assert_eq!(polling.poll().await.0, 400);
}

#[tokio::test]
async fn row_47_strangers_may_not_fill_the_memory() {
    let world = World::start().await;
    let mut socket = Socket::engine(&world.server).await;
    socket.try_send("x".repeat(1 << 20)).await;
    assert!(socket.text_or_close().await.is_none(), "1 MiB is for those who are known");
    world.unharmed().await;
}
