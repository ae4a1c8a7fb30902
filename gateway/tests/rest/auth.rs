//! Accounts, tokens and sessions.

use messenger_testkit::api::{PASSWORD, User};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::messenger::Messenger;

async fn login(messenger: &Messenger, email: &str, password: &str) -> (StatusCode, Value) {
    let body = json!({ "email": email, "password": password });
    messenger.api.call(Method::POST, "auth/login", None, Some(body)).await.expect("an answer")
}

async fn refresh(messenger: &Messenger, token: &str) -> (StatusCode, Value) {
    let body = json!({ "refreshToken": token });
    messenger.api.call(Method::POST, "auth/refresh", None, Some(body)).await.expect("an answer")
}

fn registration(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD, "fullName": "Ann Lee", "designation": "Engineer" })
}

/// Again when it is told that too many passwords are being hashed.
async fn register(messenger: &Messenger, body: Value) -> (StatusCode, Value) {
    loop {
        let answer =
            messenger.api.call(Method::POST, "auth/register", None, Some(body.clone())).await.expect("an answer");
        if answer.0 != StatusCode::TOO_MANY_REQUESTS {
            return answer;
        }
    }
}

#[tokio::test]
async fn registered_logged_in_refreshed_and_out() {
    let messenger = Messenger::start().await;
    let (status, registered) = register(&messenger, registration("ann@example.com")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(registered["user"]["email"], "ann@example.com");
    assert_eq!(registered["user"]["fullName"], "Ann Lee");
    assert_eq!(registered["user"]["designation"], "Engineer");
    assert_eq!(registered["expiresIn"], 900);

    let (status, logged_in) = login(&messenger, " Ann@Example.com ", PASSWORD).await;
    assert_eq!((status, &logged_in["user"]), (StatusCode::OK, &registered["user"]));
    let (status, refreshed) = refresh(&messenger, logged_in["refreshToken"].as_str().expect("a token")).await;
    assert_eq!((status, &refreshed["user"]), (StatusCode::OK, &registered["user"]));

    let token = refreshed["accessToken"].as_str();
    let (status, _) = messenger.api.call(Method::POST, "auth/logout", token, None).await.expect("an answer");
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, problem) = refresh(&messenger, refreshed["refreshToken"].as_str().expect("a token")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{problem}");
}

#[tokio::test]
async fn sessions_are_seen_and_ended() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let (_, other) = login(&messenger, &ann.email, PASSWORD).await;
    let sessions = messenger.api.get(&ann, "auth/sessions").await.expect("sessions")["sessions"].clone();
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    let foreign = sessions.iter().find(|session| session["isCurrent"] == false).expect("the other");
    let id = foreign["id"].as_str().expect("an id");
    messenger.api.delete(&ann, &format!("auth/sessions/{id}")).await.expect("ended");
    let (status, _) = refresh(&messenger, other["refreshToken"].as_str().expect("a token")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let (_, other) = login(&messenger, &ann.email, PASSWORD).await;
    let change = |current: &str| json!({ "currentPassword": current, "newPassword": "another horse" });
    let wrong = messenger.api.call(Method::POST, "auth/password", Some(&ann.token), Some(change("wrong horse"))).await;
    assert_eq!(wrong.expect("an answer").0, StatusCode::UNAUTHORIZED);
    messenger.api.post(&ann, "auth/password", change(PASSWORD)).await.expect("changed");
    assert_eq!(login(&messenger, &ann.email, PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&messenger, &ann.email, "another horse").await.0, StatusCode::OK);
    let (status, _) = refresh(&messenger, other["refreshToken"].as_str().expect("a token")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&messenger, &ann.refresh_token).await.0, StatusCode::OK);
}

#[tokio::test]
async fn people_are_found_and_profiles_changed() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let User { id, .. } = messenger.api.register("Benedikt").await.expect("registered");
    let found = messenger.api.get(&ann, "users?search=bened").await.expect("found");
    assert_eq!(found["users"][0]["id"], id.as_str());
    assert!(found["users"][0].get("email").is_none() && found["nextCursor"].is_null());
    let ben = messenger.api.get(&ann, &format!("users/{id}")).await.expect("there");
    assert_eq!(ben["fullName"], "Benedikt");
    assert!(ben.get("email").is_none());
    let changed = messenger.api.patch(&ann, "users/me", json!({ "designation": "Lead" })).await.expect("changed");
    assert_eq!((&changed["designation"], &changed["fullName"]), (&json!("Lead"), &json!("ann")));
    assert_eq!(messenger.api.get(&ann, "users/me").await.expect("me"), changed);
    assert_eq!(changed["email"], ann.email.as_str());
    for path in ["users", "users?search="] {
        assert_eq!(messenger.get_status(Some(&ann), path).await, StatusCode::BAD_REQUEST, "{path}");
    }
}
