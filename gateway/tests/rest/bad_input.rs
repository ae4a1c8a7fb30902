//! What attackers and broken clients send: a clear problem, never a 500, and nothing changes.

use messenger_testkit::api::{PASSWORD, User};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::messenger::{Messenger, problem};

#[tokio::test]
async fn bodies_that_are_none() {
    let messenger = Messenger::start().await;
    let deep = "[".repeat(60_000);
    let nested = format!(r#"{{"email":{}"#, "{\"a\":".repeat(10_000));
    for body in ["", "x", "[]", "null", "\"a\"", r#"["a@example.com","password"]"#, r#"{"email":"a"#, &deep, &nested] {
        let (status, code) = problem(messenger.post_raw("auth/login", body).await).await;
        assert_eq!((status, code.as_str()), (400, "VALIDATION_FAILED"), "{}", &body[..body.len().min(20)]);
    }
    let (status, _) = problem(messenger.post_raw("auth/login", &"a".repeat(8 << 20)).await).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn media_types_that_are_not_taken() {
    let messenger = Messenger::start().await;
    let body = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (header::CONTENT_TYPE, "application/jsonx"),
        (header::CONTENT_ENCODING, "gzip"),
    ] {
        let request = messenger.request(Method::POST, "auth/login").body(body.clone());
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = if name == header::CONTENT_TYPE {
            messenger.request(Method::POST, "auth/login").body(body.clone()).header(name, value)
        } else {
            request.header(name, value)
        };
        let (status, code) = problem(request.send().await.expect("an answer")).await;
        assert_eq!((status, code.as_str()), (415, "VALIDATION_FAILED"), "{value}");
    }
}

#[tokio::test]
async fn fields_of_the_wrong_type_are_named() {
    let messenger = Messenger::start().await;
    for email in [json!([]), json!({ "$ne": null }), json!(1), Value::Null, json!(true)] {
        for path in ["auth/login", "auth/register"] {
            let body = json!({ "email": email, "password": PASSWORD, "fullName": "Ann", "designation": "x" });
            let answer = messenger.post_raw(path, &body.to_string()).await;
            assert_eq!(answer.status(), 400);
            let body: Value = answer.json().await.expect("a problem");
            assert_eq!(body["fields"][0]["field"], "email", "{body}");
        }
    }
    let missing: Value =
        messenger.post_raw("auth/login", r#"{"email":"a@example.com"}"#).await.json().await.expect("JSON");
    assert_eq!(missing["fields"], json!([{ "field": "password", "message": "is required" }]));
}

#[tokio::test]
async fn text_no_store_can_keep() {
    let messenger = Messenger::start().await;
    let registration = |email: &str, name: &str| {
        format!(r#"{{"email":"{email}","password":"{PASSWORD}","fullName":"{name}","designation":"x"}}"#)
    };
    let long = "n".repeat(50_000);
    for body in [
        registration("ann\\u0000@example.com", "Ann"),
        registration("ann@example.com", "An\\u0000n"),
        registration("ann@example.com", "\\ud800"),
        registration("ann@example.com", &long),
        registration("ann@example.com", " "),
        registration("ann", "Ann"),
        format!(r#"{{"email":"a@example.com","password":"{long}","fullName":"A","designation":"x"}}"#),
        r#"{"email":"a@example.com","password":"short","fullName":"A","designation":"x"}"#.to_owned(),
    ] {
        let (status, code) = problem(messenger.post_raw("auth/register", &body).await).await;
        assert_eq!((status, code.as_str()), (400, "VALIDATION_FAILED"), "{}", &body[..body.len().min(80)]);
    }
    let mut invalid = registration("ann@example.com", "Ann").into_bytes();
    invalid[12] = 0xff;
    let request = messenger.request(Method::POST, "auth/register").header(header::CONTENT_TYPE, "application/json");
    let (status, _) = problem(request.body(invalid).send().await.expect("an answer")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn tokens_that_are_none() {
    let messenger = Messenger::start().await;
    let User { token, refresh_token, .. } = messenger.api.register("ann").await.expect("registered");
    let flipped = token.replace('a', "b");
    let none = ["eyJhbGciOiJub25lIn0", token.split('.').nth(1).expect("claims"), ""].join(".");
    for value in [
        "Basic YTpi".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.clone(),
        format!("Bearer {token} x"),
        format!("Bearer {token}x"),
        format!("Bearer {flipped}"),
        format!("Bearer {none}"),
        format!("Bearer {refresh_token}"),
        format!("Bearer {}", ".".repeat(7_000)),
    ] {
        let request = messenger.request(Method::GET, "users/me").header(header::AUTHORIZATION, &value);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(problem(answer).await.0, 401, "{value}");
    }
    let twice = messenger.request(Method::GET, "users/me").bearer_auth(&token).bearer_auth(&token);
    assert_eq!(problem(twice.send().await.expect("an answer")).await.0, 401);
    for query in ["token", "access_token", "accessToken"] {
        assert_eq!(messenger.get_status(None, &format!("users/me?{query}={token}")).await, 401);
    }
}

#[tokio::test]
async fn ids_and_limits() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let long = "a".repeat(5_000);
    for id in
        ["x", "0", "%00", "..%2f..%2fetc", "'", "%27%20OR%201=1", "%ff", &long, "0191d3c88f7b7f008000000000000000"]
    {
        for path in [format!("users/{id}"), format!("conversations/{id}"), format!("conversations/{id}/messages")] {
            let request = messenger.request(Method::GET, &path).bearer_auth(&ann.token);
            let (status, _) = problem(request.send().await.expect("an answer")).await;
            assert!(status == 400 || status == 404, "{path}: {status}");
        }
    }
    for limit in ["0", "-1", "101", "1000000000", "18446744073709551616", "x", "", "1.5"] {
        for list in ["conversations", "users?search=a", "sync"] {
            let path = format!("{list}{}limit={limit}", if list.contains('?') { '&' } else { '?' });
            assert_eq!(messenger.get_status(Some(&ann), &path).await, 400, "{path}");
        }
    }
    for path in
        ["conversations?cursor=x", "sync?cursor=x", "sync?waitMs=-1", "sync?waitMs=30001", "users?search=a&cursor=%00"]
    {
        assert_eq!(messenger.get_status(Some(&ann), path).await, 400, "{path}");
    }
}

#[tokio::test]
async fn nothing_where_nothing_is() {
    let messenger = Messenger::start().await;
    let ann = messenger.api.register("ann").await.expect("registered");
    let id = "0191d3c8-8f7b-7f00-8000-000000000000";
    for (method, path, expected) in [
        (Method::GET, "nothing".to_owned(), 404),
        (Method::POST, "nothing".to_owned(), 404),
        (Method::PUT, format!("users/{id}/block"), 404),
        (Method::DELETE, "users/me".to_owned(), 405),
        (Method::PATCH, format!("conversations/{id}/messages/{id}"), 405),
        (Method::DELETE, format!("conversations/{id}/messages/{id}"), 405),
    ] {
        let request = messenger.request(method.clone(), &path).bearer_auth(&ann.token);
        let (status, _) = problem(request.send().await.expect("an answer")).await;
        assert_eq!(status, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn other_origins_may_not_call() {
    let messenger = Messenger::start().await;
    let preflight = |origin: &'static str| {
        let request = messenger.request(Method::OPTIONS, "users/me").header(header::ORIGIN, origin);
        request.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET").send()
    };
    let allow = |answer: &reqwest::Response| answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    let foreign = preflight("https://evil.example.com").await.expect("an answer");
    assert_eq!(allow(&foreign), None);
    let listed = preflight(Messenger::ALLOWED_ORIGIN).await.expect("an answer");
    assert_eq!(allow(&listed).expect("allowed"), Messenger::ALLOWED_ORIGIN);
    assert!(listed.headers().get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS).is_none());
    let request = messenger.request(Method::GET, "users/me").header(header::ORIGIN, "https://evil.example.com");
    let answer = request.send().await.expect("an answer");
    assert_eq!((answer.status(), allow(&answer)), (StatusCode::UNAUTHORIZED, None));
}
