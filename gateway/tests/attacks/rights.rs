//! What is not for the caller to know of looks as if it were not there, over REST and sockets.

use messenger_testkit::User;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, assert_quiet};

const NOBODY: &str = "0191d3c8-8f7b-7f00-8000-000000000000";

/// Method, path behind the conversation's id, body.
pub fn row_14() -> Vec<(Method, String, Option<Value>)> {
    let participant = format!("/participants/{NOBODY}");
    vec![
        (Method::GET, String::new(), None),
        (Method::PATCH, String::new(), Some(json!({ "name": "mine" }))),
        (Method::GET, "/messages".to_owned(), None),
        (Method::GET, format!("/messages?before={NOBODY}"), None),
        (Method::GET, format!("/messages/{NOBODY}"), None),
        (Method::POST, "/messages".to_owned(), Some(json!({ "content": "let me in" }))),
        (Method::GET, "/participants".to_owned(), None),
        (Method::POST, "/participants".to_owned(), Some(json!({ "userIds": [NOBODY] }))),
        (Method::PATCH, participant.clone(), Some(json!({ "role": "ADMIN" }))),
        (Method::DELETE, participant, None),
        (Method::POST, "/leave".to_owned(), None),
        (Method::POST, "/read".to_owned(), Some(json!({ "seq": 1 }))),
    ]
}

/// A group and a P2P conversation of others, each with a message: conversation and message ids.
async fn foreign(world: &World) -> [(String, String); 2] {
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let group = world.api.group(&ann, false, &[&bob]).await.expect("a group");
    let mut client = world.connect(&ann).await;
    let in_group = client.request("send_message", json!({ "groupId": group, "content": "secret" })).await;
    let in_p2p = client.request("send_message", json!({ "receiverId": bob.id, "content": "secret" })).await;
    [in_group, in_p2p].map(|answer| {
        let message = answer.expect("stored");
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        (text(&message["conversationId"]), text(&message["id"]))
    })
}

async fn ask(
    world: &World,
    eve: &User,
    (method, rest, body): &(Method, String, Option<Value>),
    id: &str,
) -> (u16, Value) {
    let path = format!("conversations/{id}{rest}");
    let answer = world.api.call(method.clone(), &path, Some(&eve.token), body.clone()).await;
    let (status, mut answer) = answer.expect("an answer");
    answer["requestId"].take();
    (status.as_u16(), answer)
}

#[tokio::test]
async fn row_14_a_foreign_conversation_looks_like_none() {
    let world = World::start().await;
    let foreign = foreign(&world).await;
    let eve = world.register("eve").await;
    for request in row_14() {
        let unknown = ask(&world, &eve, &request, NOBODY).await;
        assert_eq!(unknown.0, 404, "{request:?} {unknown:?}");
        assert_quiet(&unknown.1);
        for (conversation_id, _) in &foreign {
            assert_eq!(ask(&world, &eve, &request, conversation_id).await, unknown, "{request:?}");
        }
    }
    world.unharmed().await;
}

pub fn row_15() -> Vec<&'static str> {
    vec!["before", "after", "around"]
}

#[tokio::test]
async fn row_15_a_message_of_a_foreign_conversation_as_a_place_in_the_own() {
    let world = World::start().await;
    let foreign = foreign(&world).await;
    let eve = world.register("eve").await;
    let group = world.api.group(&eve, false, &[]).await.expect("a group");
    for (_, message_id) in &foreign {
        for direction in row_15() {
            let page = |id: &str| (Method::GET, format!("/messages?{direction}={id}"), None);
            let (status, answer) = ask(&world, &eve, &page(message_id), &group).await;
            assert!(status == 400 || status == 404, "{direction}: {status} {answer}");
            assert_eq!(ask(&world, &eve, &page(NOBODY), &group).await, (status, answer), "nor whether it exists");
        }
        let (status, _) = ask(&world, &eve, &(Method::GET, format!("/messages/{message_id}"), None), &group).await;
        assert_eq!(status, 404);
    }
    world.unharmed().await;
}

/// What a user who takes part nowhere sends to; the conversation's id is put in.
pub fn row_65() -> Vec<(&'static str, Value)> {
    let send = |target: &str| json!({ target: "ID", "content": "let me in" });
    vec![
        ("send_message", send("groupId")),
        ("send_message", send("conversationId")),
        ("send_message", send("receiverId")),
        ("send_message", json!({ "conversationId": "ID", "content": "x", "replyToId": NOBODY })),
        ("mark_read", json!({ "conversationId": "ID", "seq": 1 })),
        ("mark_read", json!({ "conversationId": "ID", "messageId": NOBODY })),
    ]
}

#[tokio::test]
async fn row_65_outsiders_are_told_nothing_and_members_of_a_restricted_group_why() {
    let world = World::start().await;
    let (ann, bob, eve) = (world.register("ann").await, world.register("bob").await, world.register("eve").await);
    let mut admin = world.connect(&ann).await;
    let (mut member, mut outsider) = (world.connect(&bob).await, world.connect(&eve).await);
    let (open, restricted) = (
        world.api.group(&ann, false, &[&bob]).await.expect("a group"),
        world.api.group(&ann, true, &[&bob]).await.expect("a group"),
    );
    let p2p = admin.request("send_message", json!({ "receiverId": bob.id, "content": "hello" })).await.expect("sent");
    let p2p = p2p["conversationId"].as_str().expect("an id");
    for (event, data) in row_65() {
        let data =
            |id: &str| serde_json::from_str(&data.to_string().replace("ID\"", &format!("{id}\""))).expect("JSON");
        let unknown = outsider.request(event, data(NOBODY)).await.expect("answered");
        assert_eq!(unknown["error"]["code"], "NOT_FOUND", "{unknown}");
        for id in [open.as_str(), restricted.as_str(), p2p] {
            assert_eq!(outsider.request(event, data(id)).await.expect("answered"), unknown, "told apart");
        }
    }
    let draft = json!({ "groupId": restricted, "content": "let me speak" });
    let refused = member.request("send_message", draft).await.expect("answered");
    let error = &refused["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("FORBIDDEN"), &json!("Only admins can post messages here"))
    );
    // Nothing was stored: the next message is the first.
    for group in [&open, &restricted] {
        let sent = admin.request("send_message", json!({ "groupId": group, "content": "ours" })).await.expect("sent");
        assert_eq!(sent["seq"], 1, "{sent}");
    }
    world.unharmed().await;
}
