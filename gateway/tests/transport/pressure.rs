//! Clients that ask for much and read it: nobody is too slow for the answers to what it may send.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    client::Socket,
    server::{Server, Settings, User},
};

/// As many as a user may send at once.
const BURST: usize = 30;

async fn group(server: &Server, owner: &User) -> String {
    let body = json!({"type": "GROUP", "name": "large", "isRestricted": false, "memberIds": []});
    let request = reqwest::Client::new().post(server.url("/api/v1/conversations")).bearer_auth(&owner.token);
    let answer: Value = request.json(&body).send().await.expect("an answer").json().await.expect("JSON");
    answer["id"].as_str().expect("an id").to_owned()
}

/// What one of the largest messages is asked for with.
fn large(group: &str) -> String {
    json!({"groupId": group, "content": "\u{1f600}".repeat(10_000)}).to_string()
}

#[tokio::test]
async fn a_burst_of_the_largest_messages_is_answered_over_socket_io() {
    let server = Server::start(Settings(Vec::new())).await;
    let user = server.register().await;
    let data = large(&group(&server, &user).await);
    let mut socket = Socket::connected(&server, &user.token).await;
    for ack in 0..BURST {
        socket.send(&format!(r#"42{ack}["send_message",{data}]"#)).await;
    }
    let (mut acked, mut heard) = (HashSet::new(), 0);
    while acked.len() < BURST || heard < BURST {
        let text = socket.text().await;
        match text.strip_prefix("43").and_then(|text| text.split_once('[')) {
            Some((ack, answer)) => {
                assert!(!answer.contains("error") && acked.insert(ack.to_owned()), "{ack}");
            }
            None => heard += usize::from(text.starts_with(r#"42["new_message""#)),
        }
    }
}

#[tokio::test]
async fn a_burst_of_the_largest_messages_is_answered_over_a_plain_websocket() {
    let server = Server::start(Settings(Vec::new())).await;
    let user = server.register().await;
    let data = large(&group(&server, &user).await);
    let token = format!("Bearer {}", user.token);
    let mut socket = Socket::try_open(&server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    for id in 0..BURST {
        socket.send(&format!(r#"{{"event":"send_message","data":{data},"id":{id}}}"#)).await;
    }
    let (mut answered, mut heard) = (0, 0);
    while answered < BURST || heard < BURST {
        let frame = socket.frame().await;
        if frame["id"].is_number() {
            assert_eq!((&frame["event"], &frame["id"]), (&json!("ack"), &json!(answered)));
            answered += 1;
        }
        heard += usize::from(frame["event"] == "new_message");
    }
}
