//! Events over both sockets: what is in them, whom they are for, and how often they come.

use std::collections::HashSet;

use futures_util::future::join_all;
use messenger_testkit::{TestClient, User, Wire};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Socket,
    world::{World, assert_quiet, brief},
};

const NOBODY: &str = "0191d3c8-8f7b-7f00-8000-000000000000";

/// Sends every draft to a friend over both wires; each is refused with one of the codes, and the next message is the
/// first of its conversation.
async fn all_are_refused(drafts: Vec<Value>, codes: &[&str]) {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    for wire in [Wire::SocketIo, Wire::Plain] {
        let mut client = TestClient::connect(world.server.address, wire, &eve).await.expect("connected");
        for draft in &drafts {
            let text = draft.to_string().replace("BOB", &bob.id).replace("EVE", &eve.id);
            let draft: Value = serde_json::from_str(&text).expect("JSON");
            let answer = client.request("send_message", draft).await.expect("answered, and the connection stays");
            let code = answer["error"]["code"].as_str().unwrap_or_default();
            assert!(codes.contains(&code), "{}: {answer}", brief(&text));
            assert_quiet(&answer);
        }
    }
    let mut client = world.connect(&eve).await;
    let sent = client.request("send_message", json!({ "receiverId": bob.id, "content": "hello" })).await.expect("sent");
    assert_eq!(sent["seq"], 1, "nothing was stored: {sent}");
    world.unharmed().await;
}

fn with_content(content: Value) -> Value {
    json!({ "receiverId": "BOB", "content": content })
}

pub fn row_62() -> Vec<Value> {
    let contents = [
        Value::Null,
        json!(7),
        json!(1.5),
        json!(true),
        json!({}),
        json!(["hello"]),
        json!(""),
        json!(" \n\t"),
        json!("\u{3000}\u{2003}"),
        json!("\u{0}"),
        json!("a\u{0}b"),
        json!("x".repeat(10_001)),
        json!("\u{1f600}".repeat(10_001)),
        json!(format!("a{}", "\u{301}".repeat(20_000))),
        json!("x".repeat(60_000)),
        json!("x".repeat(200_000)),
    ];
    contents.into_iter().map(with_content).chain([json!({ "receiverId": "BOB" })]).collect()
}

#[tokio::test]
async fn row_62_contents_that_are_none() {
    all_are_refused(row_62(), &["VALIDATION_FAILED", "MESSAGE_TOO_LONG", "PAYLOAD_TOO_LARGE"]).await;
}

pub fn row_63() -> Vec<String> {
    let contents = [
        "'; DROP TABLE message; --",
        "100% of _ and \\ and % again",
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "\u{202e}dlrow olleh\u{202c} \u{2066}x\u{2069}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "zero\u{200b}width\u{feff}\u{2060}",
        "e\u{301} is not \u{e9}",
        "\u{1}\u{2}\u{1b}[31mred\u{7f}\u{85}",
        "line\u{2028}paragraph\u{2029}",
        "\u{10ffff}\u{fffe}\u{fdd0}",
        "  leading and trailing  \n",
        "42[\"new_message\",{}]\u{1e}4\u{1e}",
        "\\u0000 \\\" \\\\ {\"a\":1} ${jndi:ldap://x} {{7*7}} %s%n",
    ];
    contents.iter().map(|content| (*content).to_owned()).chain([format!("a{}", "\u{301}".repeat(9_000))]).collect()
}

#[tokio::test]
async fn row_63_contents_that_are_kept_byte_for_byte() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let mut sender = world.connect(&eve).await;
    let mut hearers = [Wire::SocketIo, Wire::Plain].map(|wire| (wire, None));
    for (wire, client) in &mut hearers {
        *client = Some(TestClient::connect(world.server.address, *wire, &bob).await.expect("connected"));
    }
    let mut conversation = String::new();
    for content in row_63() {
        let draft = json!({ "receiverId": bob.id, "content": content });
        let answer = sender.request("send_message", draft).await.expect("answered");
        assert_eq!(answer["content"], content.as_str(), "{}", brief(&content));
        for (wire, client) in &mut hearers {
            let heard = client.as_mut().expect("connected").until("new_message").await.expect("heard");
            assert_eq!(heard["content"], content.as_str(), "{wire:?} {}", brief(&content));
        }
        answer["conversationId"].as_str().expect("an id").clone_into(&mut conversation);
    }
    let page = world.api.get(&bob, &format!("conversations/{conversation}/messages?limit=100")).await.expect("a page");
    let stored = page["messages"].as_array().expect("a list").iter().rev().map(|message| message["content"].as_str());
    assert!(stored.eq(row_63().iter().map(|content| Some(content.as_str()))), "as it was sent");
    world.unharmed().await;
}

pub fn row_64() -> Vec<Value> {
    let to = |target: &str, id: Value| json!({ target: id, "content": "x" });
    let mut drafts = vec![
        json!({ "content": "x" }),
        json!({ "receiverId": "BOB", "groupId": NOBODY, "content": "x" }),
        json!({ "receiverId": "BOB", "conversationId": NOBODY, "content": "x" }),
        json!({ "receiverId": null, "groupId": null, "content": "x" }),
        to("receiverId", json!("EVE")),
        to("receiverId", json!("00000000-0000-0000-0000-000000000000")),
        to("groupId", json!("BOB")),
        to("conversationId", json!("BOB")),
    ];
    for target in ["receiverId", "groupId", "conversationId"] {
        for id in [json!(NOBODY), json!("x"), json!(""), json!(7), json!(["BOB"]), json!({ "$ne": null })] {
            drafts.push(to(target, id));
        }
    }
    drafts
}

#[tokio::test]
async fn row_64_targets_that_are_none() {
    all_are_refused(row_64(), &["VALIDATION_FAILED", "NOT_FOUND"]).await;
}

pub fn row_66() -> Vec<(&'static str, Value)> {
    vec![
        ("senderId", json!(NOBODY)),
        ("id", json!(NOBODY)),
        ("seq", json!(1_000_000)),
        ("createdAt", json!("2000-01-01T00:00:00.000Z")),
        ("editedAt", json!("2000-01-01T00:00:00.000Z")),
        ("deletedAt", json!("2000-01-01T00:00:00.000Z")),
        ("role", json!("ADMIN")),
        ("__proto__", json!({ "senderId": NOBODY })),
    ]
}

#[tokio::test]
async fn row_66_fields_a_sender_may_not_choose() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let mut sender = world.connect(&eve).await;
    let mut draft = json!({ "receiverId": bob.id, "content": "x" });
    for (name, value) in row_66() {
        draft[name] = value;
    }
    let stored = sender.request("send_message", draft).await.expect("answered");
    assert_eq!((&stored["senderId"], &stored["seq"]), (&json!(eve.id), &json!(1)), "{stored}");
    for (name, value) in row_66() {
        assert_ne!(stored.get(name), Some(&value), "{stored}");
    }
    world.unharmed().await;
}

#[tokio::test]
async fn row_68_a_repeated_key_stores_one_message() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let group = world.api.group(&eve, false, &[&bob]).await.expect("a group");
    let draft = |content: &str| json!({ "groupId": group, "content": content, "clientMessageId": "k" });
    let sends = (0..10).map(|_| async {
        let mut client = world.connect(&eve).await;
        client.request("send_message", draft("once")).await.expect("answered")["id"].clone()
    });
    let ids: HashSet<String> = join_all(sends).await.iter().map(Value::to_string).collect();
    assert_eq!(ids.len(), 1, "one message: {ids:?}");
    let (mut own, mut other) = (world.connect(&eve).await, world.connect(&bob).await);
    for another in [draft("twice"), json!({ "receiverId": bob.id, "content": "once", "clientMessageId": "k" })] {
        let refused = own.request("send_message", another).await.expect("answered");
        assert_eq!(refused["error"]["code"], "IDEMPOTENCY_KEY_REUSED", "{refused}");
    }
    let independent = other.request("send_message", draft("once")).await.expect("answered");
    assert_eq!((&independent["seq"], &independent["senderId"]), (&json!(2), &json!(bob.id)));
    world.unharmed().await;
}

#[tokio::test]
async fn row_69_first_messages_of_both_sides_at_once_make_one_conversation() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let first = |from: User, to: User| {
        let world = &world;
        async move {
            let mut client = world.connect(&from).await;
            let draft = json!({ "receiverId": to.id, "content": "first" });
            client.request("send_message", draft).await.expect("answered")["conversationId"].clone()
        }
    };
    let both =
        (0..10).map(|n| if n % 2 == 0 { first(eve.clone(), bob.clone()) } else { first(bob.clone(), eve.clone()) });
    let conversations: HashSet<String> = join_all(both).await.iter().map(Value::to_string).collect();
    assert_eq!(conversations.len(), 1, "{conversations:?}");
    let body = json!({ "type": "P2P", "userId": bob.id });
    let (status, answer) =
        world.api.call(Method::POST, "conversations", Some(&eve.token), Some(body)).await.expect("an answer");
    assert!(status == 200 && conversations.contains(&answer["id"].to_string()), "{status} {answer}");
    world.unharmed().await;
}

/// Arguments of events, as JSON text.
pub fn row_70() -> Vec<String> {
    let many_keys: Vec<String> = (0..4_000).map(|number| format!("\"k{number}\":1")).collect();
    let mut arguments: Vec<String> = [
        "null",
        "true",
        "7",
        "-0",
        "1e999",
        "\"text\"",
        "[]",
        "[{\"receiverId\":\"x\"}]",
        "{}",
        r#"{"__proto__":{"receiverId":"x","content":"x"}}"#,
        r#"{"constructor":{"prototype":{"content":"x"}}}"#,
        r#"{"content":"x","content":"y"}"#,
        r#"{"content":"\ud800"}"#,
        r#"{"seq":1e999,"content":1e999}"#,
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("{{{}}}", many_keys.join(",")));
    arguments.push("9".repeat(10_000));
    arguments.push(format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)));
    arguments.push(format!("{}1{}", "{\"a\":".repeat(8_000), "}".repeat(8_000)));
    arguments.push(format!("{{\"content\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000)));
    arguments
}

#[tokio::test]
async fn row_70_arguments_of_the_wrong_shape() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    for argument in row_70() {
        for event in ["send_message", "mark_read", "sync", "refresh_token"] {
            socket.send(&format!("421[\"{event}\",{argument}]")).await;
            let answer = socket.text().await;
            let error: Value = serde_json::from_str(answer.strip_prefix("431").expect("an answer")).expect("JSON");
            assert_eq!(error[0]["error"]["code"], "VALIDATION_FAILED", "{event} {}", brief(&argument));
        }
    }
    socket.send(r#"421["send_message"]"#).await;
    assert!(socket.text().await.contains("VALIDATION_FAILED"), "no argument at all");
    world.unharmed().await;
}

/// Frames of the plain wire that are no `{event, data, id?}`.
pub fn row_70_frames() -> Vec<String> {
    let frames = [
        "",
        "x",
        "[]",
        "null",
        "{}",
        "7",
        "\"a\"",
        r#"{"event":7}"#,
        r#"{"event":null}"#,
        r#"["a",{}]"#,
        r#"{"event":"a","id":{}}"#,
        r#"{"event":"a","id":true}"#,
        r#"{"event":"a","event":"b"}"#,
        r#"{"event":"a"}}"#,
    ];
    let deep = format!(r#"{{"event":"typing","data":{}"#, "[".repeat(30_000));
    let long_id = format!(r#"{{"event":"a","id":"{}"}}"#, "i".repeat(200));
    frames.iter().map(|frame| (*frame).to_owned()).chain([deep, long_id]).collect()
}

#[tokio::test]
async fn row_70_frames_of_the_wrong_shape() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut client = TestClient::connect(world.server.address, Wire::Plain, &eve).await.expect("connected");
    for frame in row_70_frames() {
        client.send(frame.clone()).await.expect("open");
        let error = client.expect("error").await.expect("an error");
        assert_eq!(error["code"], "MALFORMED_FRAME", "{}", brief(&frame));
    }
    let unknown = client.request("no_such_event", json!({})).await.expect("the connection stays");
    assert_eq!(unknown["error"]["code"], "UNKNOWN_EVENT");
    world.unharmed().await;
}

#[tokio::test]
async fn row_71_three_hundred_pipelined_are_answered_in_order() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    for (round, wire) in [Wire::SocketIo, Wire::Plain].into_iter().enumerate() {
        let mut client = TestClient::connect(world.server.address, wire, &eve).await.expect("connected");
        for number in 0..300 {
            let draft = json!({ "receiverId": bob.id, "content": number.to_string() });
            client.ask("send_message", draft).await.expect("open");
        }
        for number in 0..300 {
            let (id, answer) = client.answer().await.expect("answered");
            assert_eq!((id, &answer["seq"]), (number + 1, &json!(300 * round as u64 + number + 1)), "{answer}");
        }
    }
    world.unharmed().await;
}
