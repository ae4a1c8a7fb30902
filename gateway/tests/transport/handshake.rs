//! Who may open a connection: origins, versions, tokens; everything is refused before the upgrade.

use reqwest::{Method, StatusCode};

use crate::{
    client::{Socket, raw},
    server::{Server, Settings},
};

const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const LISTED: &str = "https://app.example.com";

fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    let fixed = "Host: here\r\nConnection: close, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    format!("GET {path} HTTP/1.1\r\n{fixed}\r\n{headers}\r\n\r\n").into_bytes()
}

fn status(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let server = Server::start(Settings::default().with("--allowed-origins=https://app.example.com")).await;
    let user = server.register().await;
    let token = format!("Bearer {}", user.token);
    let own = server.url("");
    for (origin, accepted) in [
        (LISTED, true),
        (&*own, true),
        ("https://evil.example.com", false),
        ("null", false),
        ("http://127.0.0.1", false),
    ] {
        for path in [SOCKET_IO, "/ws"] {
            let opened = Socket::try_open(&server, path, &[("origin", origin), ("authorization", &token)]).await;
            assert_eq!(opened.err().map(|refused| refused.status().as_u16()), (!accepted).then_some(403), "{origin}");
        }
        let request = reqwest::Client::new().get(server.url(POLLING)).header("origin", origin);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status() == StatusCode::OK, accepted, "{origin}");
        let readable_by = answer.headers().get("access-control-allow-origin");
        assert_eq!(readable_by.map(|value| value.to_str().expect("text")), accepted.then_some(origin));
    }
}

#[tokio::test]
async fn one_address_has_so_many_connections_whoever_logs_in() {
    let settings = Settings::default().with("--trusted-proxies=127.0.0.1").with("--connections-per-address=2");
    let server = Server::start(settings).await;
    let mut open = Vec::new();
    for (address, refused) in [
        ("198.51.100.1", None),
        ("198.51.100.1", None),
        ("198.51.100.1", Some(429)),
        ("2001:db8::1", None),
        ("2001:db8::2", None),
        ("2001:db8::3", Some(429)),
        ("127.0.0.1", None),
        ("127.0.0.1", None),
        ("127.0.0.1", None),
    ] {
        let token = format!("Bearer {}", server.register().await.token);
        let headers = [("authorization", &*token), ("x-forwarded-for", address)];
        let opened = Socket::try_open(&server, "/ws", &headers).await;
        assert_eq!(opened.as_ref().err().map(|refused| refused.status().as_u16()), refused, "{address}");
        let mut engine = Socket::try_open(&server, SOCKET_IO, &headers).await.expect("nobody knows yet who it is");
        if refused.is_some() {
            assert!(engine.text().await.starts_with('0'));
            engine.send("40").await;
            let refusal = engine.text().await;
            assert!(refusal.starts_with("44") && refusal.contains("RATE_LIMITED"), "{refusal}");
        }
        open.extend(opened);
    }
}

#[tokio::test]
async fn preflights_of_polling() {
    let server = Server::start(Settings::default().with("--allowed-origins=https://app.example.com")).await;
    let ask = |origin| reqwest::Client::new().request(Method::OPTIONS, server.url(POLLING)).header("origin", origin);
    let answer = ask(LISTED).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["access-control-allow-origin"], LISTED);
    assert_eq!(answer.headers()["access-control-allow-methods"], "GET, POST");
    let answer = ask("https://evil.example.com").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(answer.headers().get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn only_websocket_13_is_spoken() {
    let server = Server::start(Settings::default()).await;
    for path in [SOCKET_IO, "/ws"] {
        for version in ["8", "14", "x"] {
            let headers = format!("Upgrade: websocket\r\nSec-WebSocket-Version: {version}");
            let answer = raw(&server, &upgrade(path, &headers)).await;
            assert_eq!(status(&answer), "HTTP/1.1 426 Upgrade Required", "{path} {version}");
            assert!(String::from_utf8_lossy(&answer).to_lowercase().contains("sec-websocket-version: 13"));
        }
        for headers in ["Upgrade: h2c\r\nSec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"] {
            assert_eq!(status(&raw(&server, &upgrade(path, headers)).await), "HTTP/1.1 400 Bad Request", "{headers}");
        }
        let no_key = format!(
            "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n"
        );
        assert_eq!(status(&raw(&server, no_key.as_bytes()).await), "HTTP/1.1 400 Bad Request");
    }
}

#[tokio::test]
async fn a_plain_websocket_needs_a_token_before_it_is_one() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let in_query = format!("/ws?token={0}&access_token={0}", user.token);
    let basic = format!("Basic {}", user.token);
    let damaged = format!("Bearer {}x", user.token);
    for (path, headers) in [
        ("/ws", &[][..]),
        (&*in_query, &[]),
        ("/ws", &[("authorization", &*basic)]),
        ("/ws", &[("authorization", &*damaged)]),
        ("/ws", &[("authorization", "Bearer a.b.c")]),
        ("/ws", &[("sec-websocket-protocol", "bearer, a.b.c")]),
        ("/ws", &[("sec-websocket-protocol", "bearer")]),
    ] {
        let refused = Socket::try_open(&server, path, headers).await.err().expect("refused");
        assert_eq!(refused.status(), 401, "{path:.10} {headers:?}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
    }
    let pair = format!("bearer, {}", user.token);
    let mut socket = Socket::try_open(&server, "/ws", &[("sec-websocket-protocol", &pair)]).await.expect("accepted");
    assert_eq!(socket.frame().await["event"], "connected");
    let answer = reqwest::get(server.url("/ws")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}
