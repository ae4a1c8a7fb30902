//! Registering and logging in.

use futures_util::future::join_all;
use messenger_testkit::api::PASSWORD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::Socket,
    world::{World, assert_quiet},
};

fn registration(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD, "fullName": "Ann Lee", "designation": "Engineer" })
}

async fn call(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    let (status, answer) = world.api.call(Method::POST, path, None, Some(body)).await.expect("an answer");
    assert_quiet(&answer);
    (status, answer)
}

async fn login(world: &World, email: &str, password: &Value) -> (StatusCode, Value) {
    call(world, "auth/login", json!({ "email": email, "password": password })).await
}

pub fn row_6() -> Vec<&'static str> {
    vec!["eve@example.com", "EVE@example.com", "eve@EXAMPLE.COM", " eve@example.com ", "\teve@example.com\n"]
}

#[tokio::test]
async fn row_6_the_same_address_in_other_forms() {
    let world = World::start().await;
    assert_eq!(call(&world, "auth/register", registration("eve@example.com")).await.0, StatusCode::CREATED);
    for email in row_6() {
        let (status, answer) = call(&world, "auth/register", registration(email)).await;
        assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("EMAIL_TAKEN")), "{email:?}");
    }
    world.unharmed().await;
}

#[tokio::test]
async fn row_7_ten_registrations_of_one_address_at_once() {
    let world = World::start().await;
    let all = join_all((0..10).map(|_| call(&world, "auth/register", registration("eve@example.com")))).await;
    let made = all.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    // On a busy machine some are turned away before they are hashed.
    let refused = all.iter().filter(|(_, body)| body["code"] == "EMAIL_TAKEN" || body["code"] == "RATE_LIMITED");
    assert_eq!((made, refused.count()), (1, 9), "{all:?}");
    world.unharmed().await;
}

pub fn row_8() -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!("00000000-0000-4000-8000-000000000000")),
        ("role", json!("ADMIN")),
        ("isAdmin", json!(true)),
        ("createdAt", json!("2000-01-01T00:00:00.000Z")),
        ("passwordHash", json!("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAA")),
        ("__proto__", json!({ "isAdmin": true })),
        ("constructor", json!({ "prototype": {} })),
    ]
}

#[tokio::test]
async fn row_8_fields_a_client_may_not_choose() {
    let world = World::start().await;
    let mut body = registration("eve@example.com");
    for (name, value) in row_8() {
        body[name] = value;
    }
    let (status, answer) = call(&world, "auth/register", body).await;
    assert_eq!(status, StatusCode::CREATED);
    for (name, value) in row_8() {
        assert_ne!(answer["user"].get(name), Some(&value), "{answer}");
    }
    assert!(answer["user"].get("role").is_none() && answer["user"].get("isAdmin").is_none());
    assert_eq!(login(&world, "eve@example.com", &json!(PASSWORD)).await.0, StatusCode::OK);
    world.unharmed().await;
}

pub fn row_9() -> Vec<&'static str> {
    vec!["nobody@example.com", "eve@example.org", "eve+1@example.com", "xn--eve@example.com"]
}

/// That both take as long is compared in `services/auth/tests/rpc/floods.rs`, where nothing else takes time.
#[tokio::test]
async fn row_9_a_wrong_password_and_an_unknown_account_look_the_same() {
    let world = World::start().await;
    assert_eq!(call(&world, "auth/register", registration("eve@example.com")).await.0, StatusCode::CREATED);
    let (status, mut wrong) = login(&world, "eve@example.com", &json!("not the password")).await;
    assert_eq!((status, &wrong["code"]), (StatusCode::UNAUTHORIZED, &json!("INVALID_CREDENTIALS")));
    wrong["requestId"].take();
    for email in row_9() {
        let (status, mut unknown) = login(&world, email, &json!("not the password")).await;
        unknown["requestId"].take();
        assert_eq!((status, &unknown), (StatusCode::UNAUTHORIZED, &wrong), "{email}");
    }
    world.unharmed().await;
}

pub fn row_10() -> Vec<(&'static str, Value)> {
    vec![
        ("' OR 1=1 --", json!(PASSWORD)),
        ("eve@example.com' --", json!(PASSWORD)),
        ("eve@example.com'; DROP TABLE account; --", json!(PASSWORD)),
        ("%@example.com", json!(PASSWORD)),
        ("eve@example.com\u{0}", json!(PASSWORD)),
        ("eve@example.com", json!("' OR '1'='1")),
        ("eve@example.com", json!("correct horse battery\u{0}")),
        ("eve@example.com", json!({ "$ne": null })),
        ("eve@example.com", json!({ "$regex": ".*" })),
        ("eve@example.com", json!([PASSWORD])),
        ("eve@example.com", json!(true)),
        ("eve@example.com", Value::Null),
    ]
}

#[tokio::test]
async fn row_10_logins_with_code_in_them() {
    let world = World::start().await;
    assert_eq!(call(&world, "auth/register", registration("eve@example.com")).await.0, StatusCode::CREATED);
    for (email, password) in row_10() {
        let (status, answer) = login(&world, email, &password).await;
        assert!(status == 401 || status == 400, "{email} {password}: {status} {answer}");
    }
    assert_eq!(login(&world, "eve@example.com", &json!(PASSWORD)).await.0, StatusCode::OK);
    world.unharmed().await;
}

#[tokio::test]
async fn row_11_sixty_wrong_passwords_on_one_account() {
    let world = World::start_limited().await;
    let (eve, other) = (world.register("eve").await, world.register("other").await);
    let mut first_refused = None;
    for attempt in 1..=60 {
        let body = json!({ "email": eve.email, "password": format!("guess number {attempt}") });
        let answer = world.post_raw("auth/login", body.to_string()).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let after = answer.headers()["retry-after"].to_str().expect("text").parse::<u64>();
            assert!(after.is_ok_and(|seconds| (1..=60).contains(&seconds)));
            first_refused = first_refused.or(Some(attempt));
        }
    }
    assert!(first_refused.is_some_and(|attempt| attempt <= 20), "{first_refused:?}");
    assert_eq!(login(&world, &other.email, &json!(PASSWORD)).await.0, StatusCode::OK, "others are not touched");
    world.unharmed().await;
}

#[tokio::test]
async fn row_11_guessing_the_password_from_a_stolen_session() {
    let world = World::start_limited().await;
    let eve = world.register("eve").await;
    let mut statuses = Vec::new();
    for attempt in 0..10 {
        let body = json!({ "currentPassword": format!("guess number {attempt}"), "newPassword": "another horse" });
        let request = world.request(Method::POST, "auth/password").bearer_auth(&eve.token).json(&body);
        statuses.push(request.send().await.expect("an answer").status().as_u16());
    }
    assert_eq!(statuses, [[401; 5], [429; 5]].concat());
    world.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_two_hundred_logins_at_once() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let mut socket = Socket::connected(&world.server, &eve.token).await;
    let password = json!(PASSWORD);
    let flood = join_all((0..200).map(|_| login(&world, &eve.email, &password)));
    let bystander = async {
        socket.send(r#"421["no_such_event"]"#).await;
        assert!(socket.text().await.starts_with("431["), "sockets are served meanwhile");
    };
    let (logins, ()) = tokio::join!(flood, bystander);
    let (mut good, mut refused) = (0, 0);
    for (status, answer) in logins {
        match status.as_u16() {
            200 => good += 1,
            429 | 503 => refused += 1,
            _ => panic!("{status} {answer}"),
        }
    }
    assert!(good > 0 && refused > 0 && good + refused == 200, "{good} {refused}");
    world.unharmed().await;
}
