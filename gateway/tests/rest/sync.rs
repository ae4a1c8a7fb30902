//! The feed by long poll.

use messenger_testkit::api::User;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::messenger::Messenger;

async fn sync(messenger: &Messenger, user: &User, cursor: &Value, more: &str) -> Value {
    let cursor = cursor.as_str().expect("a cursor");
    messenger.api.get(user, &format!("sync?cursor={cursor}{more}")).await.expect("a page")
}

fn names(page: &Value) -> Vec<&str> {
    page["events"].as_array().expect("a list").iter().filter_map(|event| event["event"].as_str()).collect()
}

#[tokio::test]
async fn a_poll_begins_where_the_feed_is_and_continues() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let ben = messenger.api.register("ben").await.expect("registered");
    let start = messenger.api.get(&ben, "sync").await.expect("a cursor");
    assert_eq!(names(&start), Vec::<&str>::new());
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    let messages = format!("conversations/{group}/messages");
    let sent = messenger.api.post(&ann, &messages, json!({ "content": "one" })).await.expect("sent");
    messenger.api.post(&ann, &messages, json!({ "content": "two" })).await.expect("sent");

    let first = sync(&messenger, &ben, &start["cursor"], "&limit=2").await;
    assert_eq!((names(&first), &first["hasMore"]), (vec!["conversation_created", "new_message"], &json!(true)));
    assert_eq!(first["events"][0]["data"]["id"], group.as_str());
    assert_eq!(first["events"][1]["data"], sent);
    let rest = sync(&messenger, &ben, &first["cursor"], "").await;
    assert_eq!((names(&rest), &rest["hasMore"], &rest["limited"]), (vec!["new_message"], &json!(false), &json!([])));
    let again = sync(&messenger, &ben, &first["events"][0]["cursor"], "").await;
    assert_eq!(names(&again), vec!["new_message", "new_message"], "each event's cursor is a place to continue");
    let none = sync(&messenger, &ben, &rest["cursor"], "&waitMs=50").await;
    assert_eq!(names(&none), Vec::<&str>::new());
}

#[tokio::test]
async fn a_waiting_poll_is_answered_by_the_event() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let ben = messenger.api.register("ben").await.expect("registered");
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    let start = messenger.api.get(&ben, "sync").await.expect("a cursor");
    let waiting = sync(&messenger, &ben, &start["cursor"], "&waitMs=30000");
    let messages = format!("conversations/{group}/messages");
    let (page, sent) = tokio::join!(waiting, messenger.api.post(&ann, &messages, json!({ "content": "one" })));
    assert_eq!(page["events"][0]["data"], sent.expect("sent"));

    messenger.api.delete(&ann, &format!("conversations/{group}/participants/{}", ben.id)).await.expect("removed");
    messenger.api.post(&ann, &messages, json!({ "content": "two" })).await.expect("sent");
    let page = sync(&messenger, &ben, &page["cursor"], "&waitMs=1000").await;
    assert_eq!(names(&page), vec!["participant_removed"], "its own removal and nothing after");
}

#[tokio::test]
async fn a_waiting_poll_is_not_answered_after_a_logout() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let ben = messenger.api.register("ben").await.expect("registered");
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    let start = messenger.api.get(&ben, "sync").await.expect("a cursor");
    let path = format!("sync?cursor={}&waitMs=30000", start["cursor"].as_str().expect("a cursor"));
    let waiting = messenger.request(Method::GET, &path).bearer_auth(&ben.token).send();
    let ended_and_sent = async {
        messenger.api.call(Method::POST, "auth/logout", Some(&ben.token), None).await.expect("logged out");
        while messenger.get_status(Some(&ben), "sync").await != StatusCode::UNAUTHORIZED {}
        let messages = format!("conversations/{group}/messages");
        messenger.api.post(&ann, &messages, json!({ "content": "not for who logged out" })).await.expect("sent");
    };
    let (answer, ()) = tokio::join!(waiting, ended_and_sent);
    assert_eq!(answer.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}
