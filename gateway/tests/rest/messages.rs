//! Sending, history and single messages.

use messenger_testkit::api::User;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::messenger::{Messenger, problem};

struct Setting {
    messenger: Messenger,
    ann: User,
    ben: User,
    path: String,
}

async fn setting(restricted: bool) -> Setting {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let ben = messenger.api.register("ben").await.expect("registered");
    let group = messenger.api.group(&ann, restricted, &[&ben]).await.expect("a group");
    Setting { messenger, ann, ben, path: format!("conversations/{group}/messages") }
}

impl Setting {
    async fn send(&self, user: &User, key: Option<&str>, body: Value) -> reqwest::Response {
        let request = self.messenger.request(Method::POST, &self.path).bearer_auth(&user.token).json(&body);
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        request.send().await.expect("an answer")
    }

    async fn history(&self, query: &str) -> (Vec<i64>, bool) {
        let page = self.messenger.api.get(&self.ben, &format!("{}?{query}", self.path)).await.expect("a page");
        let seqs = page["messages"].as_array().expect("a list").iter().map(|one| one["seq"].as_i64().expect("a seq"));
        (seqs.collect(), page["hasMore"].as_bool().expect("said"))
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let setting = setting(false).await;
    let first = setting.send(&setting.ann, Some("key-1"), json!({ "content": "hello" })).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first: Value = first.json().await.expect("a message");
    assert_eq!((&first["clientMessageId"], &first["seq"]), (&json!("key-1"), &json!(1)));
    let again = setting.send(&setting.ann, None, json!({ "content": "hello", "clientMessageId": "key-1" })).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(again.json::<Value>().await.expect("a message"), first);
    let other = setting.send(&setting.ann, Some("key-1"), json!({ "content": "other" })).await;
    assert_eq!(problem(other).await, (409, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    let both = setting.send(&setting.ann, Some("a"), json!({ "content": "x", "clientMessageId": "b" })).await;
    assert_eq!(problem(both).await.0, 400);
    assert_eq!(
        setting.send(&setting.ben, Some("key-1"), json!({ "content": "mine" })).await.status(),
        StatusCode::CREATED
    );
    assert_eq!(setting.history("").await, (vec![2, 1], false));
}

#[tokio::test]
async fn only_admins_post_in_a_restricted_group() {
    let setting = setting(true).await;
    let refused = setting.send(&setting.ben, None, json!({ "content": "hello" })).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let refused: Value = refused.json().await.expect("a problem");
    assert_eq!(
        (&refused["code"], &refused["detail"]),
        (&json!("FORBIDDEN"), &json!("Only admins can post messages here"))
    );
    assert_eq!(setting.send(&setting.ann, None, json!({ "content": "hello" })).await.status(), StatusCode::CREATED);
    assert_eq!(setting.history("").await, (vec![1], false));
}

#[tokio::test]
async fn content_comes_back_byte_for_byte() {
    let setting = setting(false).await;
    let metadata = json!({ "a": [1, { "b": null }], "c": "\u{202e}" });
    let mut reply_to = Value::Null;
    for content in
        ["'; DROP TABLE message; --", "<b>&amp;</b>", " \u{202e}a\u{301}\u{200d}\n%_\\ \u{10ffff}", "e\u{301}"]
    {
        let body = json!({ "content": content, "metadata": metadata, "replyToId": reply_to });
        let sent: Value = setting.send(&setting.ann, None, body).await.json().await.expect("a message");
        let id = sent["id"].as_str().expect("an id");
        let read = setting.messenger.api.get(&setting.ben, &format!("{}/{id}", setting.path)).await.expect("there");
        assert_eq!((&read["content"], &read["metadata"]), (&json!(content), &metadata));
        assert_eq!(read.get("replyToId").cloned().unwrap_or_default(), reply_to);
        assert_eq!(read, sent);
        reply_to = sent["id"].clone();
    }
}

#[tokio::test]
async fn content_that_is_refused() {
    let setting = setting(false).await;
    let cases = [
        (json!({}), "VALIDATION_FAILED"),
        (json!({ "content": null }), "VALIDATION_FAILED"),
        (json!({ "content": 1 }), "VALIDATION_FAILED"),
        (json!({ "content": "" }), "VALIDATION_FAILED"),
        (json!({ "content": " \n" }), "VALIDATION_FAILED"),
        (json!({ "content": "a\u{0}b" }), "VALIDATION_FAILED"),
        (json!({ "content": "a".repeat(10_001) }), "MESSAGE_TOO_LONG"),
        (json!({ "content": "a", "metadata": [] }), "VALIDATION_FAILED"),
        (json!({ "content": "a", "metadata": { "a": "x".repeat(5_000) } }), "VALIDATION_FAILED"),
        (json!({ "content": "a", "replyToId": "x" }), "VALIDATION_FAILED"),
        (json!({ "content": "a", "clientMessageId": "x".repeat(65) }), "VALIDATION_FAILED"),
    ];
    for (body, code) in cases {
        let refused = setting.send(&setting.ann, None, body.clone()).await;
        assert_eq!(problem(refused).await, (400, code.to_owned()), "{:.60}", body.to_string());
    }
    assert_eq!(setting.history("").await, (vec![], false));
}

#[tokio::test]
async fn history_is_complete_in_every_direction() {
    let setting = setting(false).await;
    let mut sent = Vec::new();
    for number in 1..=7 {
        let message: Value = setting
            .send(&setting.ann, None, json!({ "content": number.to_string() }))
            .await
            .json()
            .await
            .expect("sent");
        sent.push((message["id"].as_str().expect("an id").to_owned(), message["createdAt"].clone()));
    }
    let id = |seq: usize| sent[seq - 1].0.as_str();
    assert_eq!(setting.history("limit=3").await, (vec![7, 6, 5], true));
    assert_eq!(setting.history(&format!("limit=3&before={}", id(5))).await, (vec![4, 3, 2], true));
    assert_eq!(setting.history(&format!("limit=3&before={}", id(2))).await, (vec![1], false));
    assert_eq!(setting.history(&format!("limit=3&after={}", id(2))).await, (vec![3, 4, 5], true));
    assert_eq!(setting.history(&format!("limit=3&after={}", id(5))).await, (vec![6, 7], false));
    let (around, _) = setting.history(&format!("limit=3&around={}", id(4))).await;
    assert!(around.contains(&4) && around.is_sorted_by(|a, b| a > b), "{around:?}");
    let last = sent[6].1.as_str().expect("a time").replace('Z', "999Z");
    assert_eq!(setting.history(&format!("at={last}")).await.0.first(), Some(&7));
    let both = format!("{}?before={}&after={}", setting.path, id(2), id(3));
    assert_eq!(setting.messenger.get_status(Some(&setting.ann), &both).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_message_of_another_conversation_is_no_place_to_begin() {
    let setting = setting(false).await;
    let (messenger, ann) = (&setting.messenger, &setting.ann);
    let other = messenger.api.group(ann, false, &[]).await.expect("a group");
    let secret =
        messenger.api.post(ann, &format!("conversations/{other}/messages"), json!({ "content": "secret" })).await;
    let secret = secret.expect("sent")["id"].as_str().expect("an id").to_owned();
    setting.send(ann, None, json!({ "content": "open" })).await;
    for from in ["before", "after", "around"] {
        let path = format!("{}?{from}={secret}", setting.path);
        assert_eq!(messenger.get_status(Some(&setting.ben), &path).await, StatusCode::NOT_FOUND, "{from}");
    }
    let path = format!("{}/{secret}", setting.path);
    assert_eq!(messenger.get_status(Some(&setting.ben), &path).await, StatusCode::NOT_FOUND);
}
