//! What a client may ask for, and what it hears when it asks wrongly.

use messenger_auth::TokenConfig;
use messenger_gateway::session::ReplyTo;
use serde_json::{Value, json, value::RawValue};

use crate::world::World;

#[tokio::test]
async fn bad_requests_are_answered_once_and_change_nothing() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut client = world.connect(&alice).await;
    let (to, nobody) = (&bob.id, "0191d3c8-8f7b-7f00-8000-000000000000");
    let cases = [
        ("send_message", json!({"receiverId": to}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": " \n"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": "a\u{0}"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": 5}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": "x".repeat(10_001)}), "MESSAGE_TOO_LONG"),
        ("send_message", json!({"content": "x"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "groupId": to, "content": "x"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": alice.id, "content": "x"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": "x", "content": "x"}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": "x", "metadata": [1]}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": to, "content": "x", "clientMessageId": ""}), "VALIDATION_FAILED"),
        ("send_message", json!({"receiverId": nobody, "content": "x"}), "NOT_FOUND"),
        ("send_message", json!({"groupId": nobody, "content": "x"}), "NOT_FOUND"),
        ("send_message", json!([to, null, null, "x"]), "VALIDATION_FAILED"),
        ("send_message", Value::Null, "VALIDATION_FAILED"),
        ("mark_read", json!({"conversationId": nobody, "seq": 1}), "NOT_FOUND"),
        ("mark_read", json!({"conversationId": nobody, "seq": -1}), "VALIDATION_FAILED"),
        ("mark_read", json!({"conversationId": nobody}), "VALIDATION_FAILED"),
        ("sync", json!({"cursor": "x"}), "CURSOR_INVALID"),
        ("refresh_token", json!({"token": "x"}), "UNAUTHENTICATED"),
        ("typing", json!({"conversationId": nobody, "isTyping": true}), "UNKNOWN_EVENT"),
        ("__proto__", json!({}), "UNKNOWN_EVENT"),
    ];
    for (event, data, code) in cases {
        let answer = client.ask(event, &data).await;
        assert_eq!((&answer["event"], &answer["data"]["code"]), (&json!("error"), &json!(code)), "{event} {data}");
        assert_eq!(answer["data"]["event"], event, "an error names its request");
        client.emit(event, &data);
        let error = client.next().await;
        assert!(error["event"] == "error" && error["data"] == answer["data"] && error["id"].is_null(), "{error}");
    }
    assert!(client.so_far().await.is_empty());
}

#[tokio::test]
async fn a_wrong_field_is_named_and_so_is_the_send() {
    let world = World::start().await;
    let mut client = world.connect(&world.register().await).await;
    let place = json!({"conversationId": "0191d3c8-8f7b-7f00-8000-000000000000", "seq": "1"});
    for (event, data, field, message) in [
        ("send_message", json!({"content": 5}), "content", "invalid type: integer `5`, expected a string"),
        ("send_message", json!({"content": "x", "replyToId": {}}), "replyToId", "invalid type: map, expected a string"),
        ("sync", json!({}), "cursor", "is required"),
        ("mark_read", json!({}), "conversationId", "is required"),
        ("mark_read", place, "seq", "invalid type: string \"1\", expected i64"),
        ("refresh_token", json!({"token": null}), "token", "invalid type: null, expected a string"),
    ] {
        let mut named = data.clone();
        named["clientMessageId"] = "k5".into();
        let expected = json!([{ "field": field, "message": message }]);
        let error = client.ask(event, &data).await["data"].take();
        assert_eq!((&error["fields"], &error["clientMessageId"]), (&expected, &Value::Null), "{event} {data}");
        let error = client.ask(event, &named).await["data"].take();
        assert_eq!((&error["fields"], &error["clientMessageId"]), (&expected, &json!("k5")), "{event} {named}");
    }
    let wrong_name = client.ask("send_message", &json!({"content": "x", "clientMessageId": 5})).await;
    assert_eq!(wrong_name["data"]["fields"][0]["field"], "clientMessageId");
    for text in
        [r#"{"content":"\ud800","clientMessageId":"k5"}"#, r#"{"content":1,"content":2,"clientMessageId":"k5"}"#]
    {
        let data: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        client.session.receive("send_message", Some(&data), ReplyTo::None);
        let error = client.next().await;
        assert_eq!(
            (&error["data"]["code"], &error["data"]["clientMessageId"]),
            (&json!("VALIDATION_FAILED"), &json!("k5"))
        );
    }
}

#[tokio::test]
async fn reading_moves_the_read_position_and_tells_the_conversation() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut reader) = (world.connect(&alice).await, world.connect(&bob).await);
    for text in ["one", "two"] {
        sender.emit("send_message", &json!({"receiverId": bob.id, "content": text}));
    }
    reader.event("new_message").await;
    let last = reader.event("new_message").await["data"].clone();
    let place = json!({"conversationId": last["conversationId"], "seq": 1});
    let answer = reader.ask("mark_read", &place).await["data"].clone();
    assert_eq!((&answer["lastReadSeq"], &answer["unreadCount"]), (&json!(1), &json!(1)));
    let read = sender.event("message_read").await;
    assert_eq!((&read["data"]["userId"], &read["data"]["lastReadSeq"]), (&json!(bob.id), &json!(1)));
    assert!(read["cursor"].is_null(), "a signal has no place in the journal");
    assert!(reader.so_far().await.iter().all(|frame| frame["event"] != "message_read"), "it has its answer");
    let place = json!({"conversationId": last["conversationId"], "messageId": last["id"]});
    assert_eq!(reader.ask("mark_read", &place).await["data"]["unreadCount"], 0);
}

#[tokio::test]
async fn one_user_is_slowed_down_and_told_for_how_long() {
    let world = World::start_with(&[], TokenConfig::default()).await;
    let (alice, bob) = (world.register().await, world.register().await);
    let mut sender = world.connect(&alice).await;
    for number in 0..60 {
        let send = json!({"receiverId": bob.id, "content": "x", "clientMessageId": number.to_string()});
        sender.emit_with("send_message", &send, ReplyTo::Id(format!("{number}").into()));
    }
    let (mut acked, mut refused) = (0, 0);
    while acked + refused < 60 {
        let frame = sender.next().await;
        match frame["data"]["code"].as_str() {
            _ if frame["id"].is_null() => {}
            None => acked += 1,
            Some(code) => {
                assert_eq!(code, "RATE_LIMITED");
                assert!(frame["data"]["retryAfterMs"].as_u64().is_some_and(|millis| (1..=1_000).contains(&millis)));
                refused += 1;
            }
        }
    }
    assert!((30..=40).contains(&acked), "a burst of 30 passes: {acked}");
}
