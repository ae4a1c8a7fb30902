//! What operators, tools and browsers ask for.

use messenger_testkit::api::PASSWORD;
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::messenger::{Messenger, problem};

#[tokio::test]
async fn health_keys_limits_and_metrics() {
    let messenger = Messenger::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(messenger.get(path).await.status(), StatusCode::OK, "{path}");
    }
    let keys: Value = messenger.get("/.well-known/jwks.json").await.json().await.expect("JSON");
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0].get("d").is_none(), "never the private part");
    let limits: Value = messenger.get("/config").await.json().await.expect("JSON");
    assert!(limits.is_object() && !limits.to_string().contains(PASSWORD), "{limits}");
    let metrics = messenger.get("/metrics").await;
    assert!(metrics.headers()[header::CONTENT_TYPE].to_str().expect("text").starts_with("text/plain"));
    assert!(metrics.text().await.expect("text").contains("http_request_seconds"));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let messenger = Messenger::start().await;
    let api: Value = messenger.get("/openapi.json").await.json().await.expect("JSON");
    assert_eq!((&api["info"]["title"], &api["openapi"]), (&"Messenger".into(), &"3.1.0".into()));
    let paths = api["paths"].as_object().expect("paths");
    for (path, methods) in [
        ("/api/v1/auth/register", &["post"][..]),
        ("/api/v1/auth/login", &["post"]),
        ("/api/v1/auth/refresh", &["post"]),
        ("/api/v1/auth/logout", &["post"]),
        ("/api/v1/auth/logout-all", &["post"]),
        ("/api/v1/auth/password", &["post"]),
        ("/api/v1/auth/sessions", &["get"]),
        ("/api/v1/auth/sessions/{id}", &["delete"]),
        ("/api/v1/users", &["get"]),
        ("/api/v1/users/me", &["get", "patch"]),
        ("/api/v1/users/{id}", &["get"]),
        ("/api/v1/conversations", &["get", "post"]),
        ("/api/v1/conversations/{id}", &["get", "patch"]),
        ("/api/v1/conversations/{id}/read", &["post"]),
        ("/api/v1/conversations/{id}/leave", &["post"]),
        ("/api/v1/conversations/{id}/participants", &["get", "post"]),
        ("/api/v1/conversations/{id}/participants/{userId}", &["patch", "delete"]),
        ("/api/v1/conversations/{id}/messages", &["get", "post"]),
        ("/api/v1/conversations/{id}/messages/{messageId}", &["get"]),
        ("/api/v1/sync", &["get"]),
    ] {
        for method in methods {
            let operation = &paths[path][method];
            assert!(operation["responses"]["500"].is_object(), "{method} {path}: {operation}");
        }
    }
    assert!(paths["/api/v1/users/me"]["get"]["responses"]["401"].is_object());
    assert_eq!(api["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_no_dangling(&api, &api);
}

/// Every reference leads somewhere.
fn assert_no_dangling(value: &Value, api: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                assert!(api.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            fields.values().for_each(|value| assert_no_dangling(value, api));
        }
        Value::Array(values) => values.iter().for_each(|value| assert_no_dangling(value, api)),
        _ => {}
    }
}

#[tokio::test]
async fn pages_are_strict_and_kept() {
    let messenger = Messenger::start().await;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
        ("/assets/vendor/socket.io-client-4.8.4.esm.min.js", "text/javascript; charset=utf-8"),
    ] {
        let page = messenger.get(path).await;
        assert_eq!(
            (page.status(), &page.headers()[header::CONTENT_TYPE]),
            (StatusCode::OK, &media_type.parse().expect("text"))
        );
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
        assert_eq!(page.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let tag = page.headers()[header::ETAG].clone();
        let request = messenger.http.get(messenger.url(path)).header(header::IF_NONE_MATCH, tag);
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    for path in ["/assets/nothing.js", "/assets/..%2fCargo.toml", "/assets/", "/index.html"] {
        assert_eq!(messenger.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let messenger = Messenger::start().await;
    for (method, path, expected) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/assets/nothing.js", 404),
        (Method::GET, "/assets/%ff", 404),
        (Method::GET, "/assets/..%2fCargo.toml", 404),
        (Method::GET, "/ws", 400),
        (Method::POST, "/", 405),
        (Method::DELETE, "/docs", 405),
        (Method::POST, "/assets/app.js", 405),
        (Method::PUT, "/api/v1/auth/login", 405),
        (Method::DELETE, "/healthz", 405),
    ] {
        let answer = messenger.http.request(method, messenger.url(path)).send().await.expect("an answer");
        assert_eq!(problem(answer).await.0, expected, "{path}");
    }
    let page = messenger.get("/").await;
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert!(page.headers()["content-security-policy"].to_str().expect("text").contains("script-src 'self'"));
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
