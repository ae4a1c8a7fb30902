//! Bodies, ids and query strings over REST.

use messenger_testkit::api::PASSWORD;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::world::{World, brief, refusal};

pub fn row_1() -> Vec<String> {
    let bodies = ["", "x", "[]", "null", "true", "\"a\"", "{", r#"{"email":"a"#, r#"["a@b.org","password"]"#];
    let more = [r#"{"email":"a@b.org","password":"x"}}"#, r#"{"email":"a@b.org" "password":"x"}"#, "{'email':1}"];
    bodies.iter().chain(&more).map(|body| (*body).to_owned()).collect()
}

#[tokio::test]
async fn row_1_bodies_that_are_no_json_object() {
    let world = World::start().await;
    for body in row_1() {
        let answer = refusal(world.post_raw("auth/login", body.clone()).await).await;
        assert_eq!(answer, (400, "VALIDATION_FAILED".to_owned()), "{body}");
    }
    world.unharmed().await;
}

/// Content type, content encoding, body.
pub fn row_2() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let json = "application/json";
    // The head of a gzip file: nobody may begin to unpack it.
    let gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    vec![
        (json, "identity", "[".repeat(100_000).into_bytes()),
        (json, "identity", "[".repeat(60_000).into_bytes()),
        (json, "identity", format!(r#"{{"email":{}"#, "{\"a\":".repeat(10_000)).into_bytes()),
        (json, "identity", format!(r#"{{"email":"a","x":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000)).into_bytes()),
        (json, "gzip", gzip.clone()),
        (json, "deflate", gzip.clone()),
        (json, "br", gzip.clone()),
        (json, "gzip, gzip", gzip),
        ("text/plain", "identity", b"{}".to_vec()),
        ("application/x-www-form-urlencoded", "identity", b"email=a".to_vec()),
        ("application/jsonx", "identity", b"{}".to_vec()),
        ("multipart/form-data; boundary=x", "identity", b"--x--".to_vec()),
    ]
}

#[tokio::test]
async fn row_2_deep_json_and_compressed_bodies() {
    let world = World::start().await;
    for (content_type, encoding, body) in row_2() {
        let request = world.request(Method::POST, "auth/login").header(header::CONTENT_TYPE, content_type);
        let request = request.header(header::CONTENT_ENCODING, encoding).body(body);
        let (status, _) = refusal(request.send().await.expect("an answer")).await;
        assert!([400, 413, 415].contains(&status), "{content_type} {encoding}: {status}");
    }
    world.unharmed().await;
}

fn registration(email: &str, password: &str, name: &str, designation: &str) -> String {
    json!({ "email": email, "password": password, "fullName": name, "designation": designation }).to_string()
}

pub fn row_3() -> Vec<String> {
    let (email, text) = ("large@example.com", |length: usize| "x".repeat(length));
    vec![
        registration(email, PASSWORD, &text(8 << 20), "x"),
        registration(email, &text(1 << 20), "Ann", "x"),
        registration(email, &text(50_000), "Ann", "x"),
        registration(email, &text(129), "Ann", "x"),
        registration(email, &"\u{1f600}".repeat(129), "Ann", "x"),
        registration(email, &text(7), "Ann", "x"),
        registration(email, "", "Ann", "x"),
        registration(email, PASSWORD, &text(50_000), "x"),
        registration(email, PASSWORD, &text(201), "x"),
        registration(email, PASSWORD, "", "x"),
        registration(email, PASSWORD, " ", "x"),
        registration(email, PASSWORD, "Ann", &text(201)),
        registration(&format!("{}@example.com", text(300)), PASSWORD, "Ann", "x"),
    ]
}

#[tokio::test]
async fn row_3_oversized_bodies_and_fields() {
    let world = World::start().await;
    for body in row_3() {
        let (status, code) = refusal(world.post_raw("auth/register", body.clone()).await).await;
        let expected = if body.len() > 64 * 1024 { (413, "PAYLOAD_TOO_LARGE") } else { (400, "VALIDATION_FAILED") };
        assert_eq!((status, code.as_str()), expected, "{}", brief(&body));
    }
    let body = json!({ "email": "large@example.com", "password": PASSWORD, "fullName": "Ann", "designation": "" });
    let taken = world.api.call(Method::POST, "auth/register", None, Some(body)).await.expect("an answer");
    assert_eq!(taken.0, 201, "nothing of it was stored");
    world.unharmed().await;
}

pub fn row_4() -> Vec<Vec<u8>> {
    let body = |email: &str, name: &str| {
        format!(r#"{{"email":"{email}","password":"{PASSWORD}","fullName":"{name}","designation":"x"}}"#).into_bytes()
    };
    let mut invalid = body("ann@example.com", "Ann");
    invalid[12] = 0xff;
    let mut cut = body("ann@example.com", "Ann\u{e9}");
    cut.retain(|byte| *byte != 0xa9);
    vec![
        body("ann\\u0000@example.com", "Ann"),
        body("ann@example.com", "An\\u0000n"),
        body("ann@example.com", "\\ud800"),
        body("ann@example.com", "\\udc00\\ud800"),
        body("ann\\ud800@example.com", "Ann"),
        invalid,
        cut,
    ]
}

#[tokio::test]
async fn row_4_text_no_store_can_keep() {
    let world = World::start().await;
    for body in row_4() {
        let (status, code) = refusal(world.post_raw("auth/register", body.clone()).await).await;
        assert_eq!((status, code.as_str()), (400, "VALIDATION_FAILED"), "{}", brief(&body));
    }
    world.unharmed().await;
}

pub fn row_5() -> Vec<Value> {
    vec![
        json!([]),
        json!(["a@b.org"]),
        json!({ "$ne": null }),
        json!({}),
        json!(1),
        json!(1e300),
        Value::Null,
        json!(true),
    ]
}

#[tokio::test]
async fn row_5_an_email_of_another_type() {
    let world = World::start().await;
    for email in row_5() {
        for path in ["auth/login", "auth/register"] {
            let body = json!({ "email": email, "password": PASSWORD, "fullName": "Ann", "designation": "x" });
            let answer = world.post_raw(path, body.to_string()).await;
            assert_eq!(answer.status(), 400, "{email}");
            let problem: Value = answer.json().await.expect("a problem");
            assert_eq!(problem["fields"][0]["field"], "email", "{problem}");
        }
    }
    world.unharmed().await;
}

pub fn row_16() -> Vec<&'static str> {
    vec!["0", "-1", "101", "1000000000", "18446744073709551616", "x", "", "1.5", "%00", "1%20"]
}

#[tokio::test]
async fn row_16_limits_out_of_range() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let group = world.api.group(&eve, false, &[]).await.expect("a group");
    let (messages, participants) =
        (format!("conversations/{group}/messages?"), format!("conversations/{group}/participants?"));
    for limit in row_16() {
        for list in ["conversations?", "users?search=a&", "sync?", &messages, &participants] {
            let request = world.request(Method::GET, &format!("{list}limit={limit}")).bearer_auth(&eve.token);
            let (status, _) = refusal(request.send().await.expect("an answer")).await;
            assert_eq!(status, 400, "{list}{limit}");
        }
    }
    world.unharmed().await;
}

pub fn row_17() -> Vec<String> {
    let ids =
        ["x", "0", "%00", "..%2f..%2fetc", "'", "%27%20OR%201=1", "%ff", "0191d3c88f7b7f008000000000000000", "%7B%7D"];
    let ids = ids.iter().map(|id| (*id).to_owned());
    ids.chain(["a".repeat(5_000), "%41".repeat(2_000)]).collect()
}

#[tokio::test]
async fn row_17_ids_that_are_none() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for id in row_17() {
        for path in [format!("users/{id}"), format!("conversations/{id}"), format!("conversations/{id}/messages")] {
            let request = world.request(Method::GET, &path).bearer_auth(&eve.token);
            let (status, _) = refusal(request.send().await.expect("an answer")).await;
            assert!([400, 404, 414].contains(&status), "{}: {status}", brief(&path));
        }
    }
    for path in ["conversations?cursor=x", "sync?cursor=%00", "sync?cursor=x&waitMs=-1", "sync?waitMs=30001"] {
        let request = world.request(Method::GET, path).bearer_auth(&eve.token);
        assert_eq!(refusal(request.send().await.expect("an answer")).await.0, 400, "{path}");
    }
    world.unharmed().await;
}
