//! Conversations, participants and read positions.

use messenger_testkit::api::User;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::messenger::{Messenger, same_but_request_id};

const UNKNOWN: &str = "0191d3c8-8f7b-7f00-8000-000000000000";

async fn three(messenger: &Messenger) -> (User, User, User) {
    let [ann, ben, eve] = ["ann", "ben", "eve"].map(|name| messenger.api.register(name));
    (ann.await.expect("registered"), ben.await.expect("registered"), eve.await.expect("registered"))
}

async fn refused(messenger: &Messenger, method: Method, path: &str, user: &User, body: Option<Value>) -> (u16, Value) {
    let (status, body) = messenger.api.call(method, path, Some(&user.token), body).await.expect("an answer");
    assert!(!status.is_success(), "{path}: {status}");
    (status.as_u16(), body)
}

#[tokio::test]
async fn a_group_as_clients_of_the_seed_know_it() {
    let messenger = Messenger::start().await;
    let (ann, ben, _) = three(&messenger).await;
    let body = json!({ "type": "GROUP", "name": "Lunch", "isRestricted": true, "memberIds": [ben.id] });
    let (status, group) =
        messenger.api.call(Method::POST, "conversations", Some(&ann.token), Some(body)).await.expect("an answer");
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&group["type"], &group["name"]), (&json!("GROUP"), &json!("Lunch")));
    assert_eq!((&group["isRestricted"], &group["role"]), (&json!(true), &json!("ADMIN")));
    assert_eq!((&group["participantCount"], &group["unreadCount"]), (&json!(2), &json!(0)));
    assert!(group["createdAt"].is_string() && group["lastMessage"].is_null() && group.get("peer").is_none());
    let listed = messenger.api.get(&ben, "conversations").await.expect("a list");
    assert_eq!(listed["conversations"][0]["id"], group["id"]);
    assert_eq!(listed["conversations"][0]["role"], "MEMBER");
    for body in [json!({ "type": "GROUP" }), json!({ "type": "P2P" }), json!({ "type": "X" }), json!({})] {
        let (status, problem) = refused(&messenger, Method::POST, "conversations", &ann, Some(body)).await;
        assert_eq!((status, &problem["code"]), (400, &json!("VALIDATION_FAILED")));
    }
}

#[tokio::test]
async fn two_users_have_one_conversation() {
    let messenger = Messenger::start().await;
    let (ann, ben, _) = three(&messenger).await;
    let p2p = |user: &User| Some(json!({ "type": "P2P", "userId": user.id }));
    let create = |by: &User, with: Option<Value>| {
        let (api, token) = (messenger.api.clone(), by.token.clone());
        async move { api.call(Method::POST, "conversations", Some(&token), with).await.expect("an answer") }
    };
    let (status, made) = create(&ann, p2p(&ben)).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&made["peer"]["id"], &made["name"]), (&json!(ben.id), &Value::Null));
    assert!(made["peer"].get("email").is_none());
    let (status, found) = create(&ben, p2p(&ann)).await;
    assert_eq!((status, &found["id"], &found["peer"]["fullName"]), (StatusCode::OK, &made["id"], &json!("ann")));
    assert_eq!(create(&ann, p2p(&ann)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(create(&ann, Some(json!({ "type": "P2P", "userId": UNKNOWN }))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn outsiders_learn_nothing() {
    let messenger = Messenger::start().await;
    let (ann, ben, eve) = three(&messenger).await;
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    for (method, end, body) in [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({ "name": "Mine" }))),
        (Method::GET, "/messages", None),
        (Method::POST, "/messages", Some(json!({ "content": "hello" }))),
        (Method::GET, "/participants", None),
        (Method::POST, "/participants", Some(json!({ "userIds": [eve.id] }))),
        (Method::POST, "/read", Some(json!({ "seq": 1 }))),
        (Method::POST, "/leave", None),
    ] {
        let foreign = format!("conversations/{group}{end}");
        let unknown = format!("conversations/{UNKNOWN}{end}");
        let (status, of_foreign) = refused(&messenger, method.clone(), &foreign, &eve, body.clone()).await;
        let (_, of_unknown) = refused(&messenger, method, &unknown, &eve, body).await;
        assert_eq!(status, 404, "{foreign}");
        assert!(same_but_request_id(&of_foreign, &of_unknown), "{of_foreign} {of_unknown}");
    }
}

#[tokio::test]
async fn admins_change_a_group_and_members_do_not() {
    let messenger = Messenger::start().await;
    let (ann, ben, eve) = three(&messenger).await;
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    let path = format!("conversations/{group}");
    let change = json!({ "name": "Dinner", "isRestricted": true });
    let (status, problem) = refused(&messenger, Method::PATCH, &path, &ben, Some(change.clone())).await;
    assert_eq!((status, &problem["code"]), (403, &json!("FORBIDDEN")));
    let changed = messenger.api.patch(&ann, &path, change).await.expect("changed");
    assert_eq!((&changed["name"], &changed["isRestricted"]), (&json!("Dinner"), &json!(true)));
    assert_eq!(messenger.api.get(&ann, &path).await.expect("there"), changed);

    let people = format!("{path}/participants");
    let (status, _) = refused(&messenger, Method::POST, &people, &ben, Some(json!({ "userIds": [eve.id] }))).await;
    assert_eq!(status, 403);
    let added = messenger.api.post(&ann, &people, json!({ "userIds": [eve.id] })).await.expect("added");
    assert_eq!(added["participants"][0]["user"]["fullName"], "eve");
    let listed = messenger.api.get(&eve, &people).await.expect("a list");
    assert_eq!(listed["participants"].as_array().map(Vec::len), Some(3));

    let (status, problem) = refused(&messenger, Method::POST, &format!("{path}/leave"), &ann, None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("LAST_ADMIN")));
    let promoted = messenger.api.patch(&ann, &format!("{people}/{}", ben.id), json!({ "role": "ADMIN" })).await;
    assert_eq!(promoted.expect("promoted")["role"], "ADMIN");
    messenger.api.post(&ann, &format!("{path}/leave"), json!({})).await.expect("left");
    messenger.api.delete(&ben, &format!("{people}/{}", eve.id)).await.expect("removed");
    for gone in [&ann, &eve] {
        assert_eq!(messenger.get_status(Some(gone), &path).await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn changes_meant_for_another_version_are_refused() {
    let messenger = Messenger::start().await;
    let (ann, ben, eve) = three(&messenger).await;
    let path = format!("conversations/{}", messenger.api.group(&ann, false, &[&ben]).await.expect("a group"));
    assert_eq!(messenger.api.get(&ann, &path).await.expect("there")["version"], 1);
    let renamed = messenger.api.patch(&ann, &format!("{path}?expectedVersion=1"), json!({ "name": "Two" })).await;
    assert_eq!(renamed.expect("renamed")["version"], 2);
    let one = |path: &str| format!("{path}?expectedVersion=1");
    let of_ben = format!("{path}/participants/{}", ben.id);
    for (method, path, by, body) in [
        (Method::PATCH, one(&path), &ann, Some(json!({ "name": "Three" }))),
        (Method::POST, one(&format!("{path}/participants")), &ann, Some(json!({ "userIds": [eve.id] }))),
        (Method::PATCH, one(&of_ben), &ann, Some(json!({ "role": "ADMIN" }))),
        (Method::DELETE, one(&of_ben), &ann, None),
        (Method::POST, one(&format!("{path}/leave")), &ben, None),
    ] {
        let (status, problem) = refused(&messenger, method, &path, by, body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("VERSION_CONFLICT")), "{path}");
    }
    let (status, problem) =
        refused(&messenger, Method::DELETE, &format!("{of_ben}?expectedVersion=x"), &ann, None).await;
    assert_eq!((status, &problem["fields"][0]["field"]), (400, &json!("expectedVersion")));
    messenger.api.delete(&ann, &format!("{of_ben}?expectedVersion=2")).await.expect("removed");
}

#[tokio::test]
async fn what_was_read_is_known() {
    let messenger = Messenger::start().await;
    let (ann, ben, _) = three(&messenger).await;
    let group = messenger.api.group(&ann, false, &[&ben]).await.expect("a group");
    let path = format!("conversations/{group}");
    let mut ids = Vec::new();
    for content in ["one", "two", "three"] {
        let sent = messenger.api.post(&ann, &format!("{path}/messages"), json!({ "content": content })).await;
        ids.push(sent.expect("sent")["id"].clone());
    }
    let state = messenger.api.get(&ben, &path).await.expect("there");
    assert_eq!((&state["unreadCount"], &state["lastSeq"], &state["lastReadSeq"]), (&json!(3), &json!(3), &json!(0)));
    assert_eq!(state["lastMessage"]["content"], "three");
    let read = messenger.api.post(&ben, &format!("{path}/read"), json!({ "messageId": ids[1] })).await.expect("read");
    assert_eq!((&read["lastReadSeq"], &read["unreadCount"]), (&json!(2), &json!(1)));
    let again = messenger.api.post(&ben, &format!("{path}/read"), json!({ "seq": 1 })).await.expect("read");
    assert_eq!(again["lastReadSeq"], 2, "never falls");
    let beyond = messenger.api.post(&ben, &format!("{path}/read"), json!({ "seq": 99 })).await.expect("read");
    assert_eq!((&beyond["lastReadSeq"], &beyond["unreadCount"]), (&json!(3), &json!(0)));
    let people = messenger.api.get(&ann, &format!("{path}/participants")).await.expect("a list");
    let people = people["participants"].as_array().expect("a list").clone();
    assert!(people.iter().all(|one| one["lastReadAt"].is_string() && one["user"]["id"] == one["userId"]), "{people:?}");
    for body in
        [json!({}), json!({ "seq": 1, "messageId": ids[0] }), json!({ "seq": "x" }), json!({ "messageId": "x" })]
    {
        let (status, _) = refused(&messenger, Method::POST, &format!("{path}/read"), &ben, Some(body)).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn lists_come_in_pages_by_last_activity() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(messenger.api.group(&ann, false, &[]).await.expect("a group"));
    }
    messenger
        .api
        .post(&ann, &format!("conversations/{}/messages", expected[0]), json!({ "content": "up" }))
        .await
        .expect("sent");
    expected.rotate_left(1);
    expected.reverse();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = messenger.api.get(&ann, &format!("conversations?limit=2{cursor}")).await.expect("a page");
        let ids = page["conversations"].as_array().expect("a list").iter();
        listed.extend(ids.map(|one| one["id"].as_str().expect("an id").to_owned()));
        cursor = page["nextCursor"].as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    }
    assert_eq!((listed, cursor.as_str()), (expected, ""));
}
