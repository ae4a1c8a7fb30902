//! Below HTTP: bytes that are no request, requests that never end, answers nobody reads.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    client::{Socket, in_time, raw},
    server::Settings,
    world::World,
};

/// Requests, and whether they are refused (else they are answered, and nothing after them is read).
pub fn row_19() -> Vec<(String, bool)> {
    let post = "POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n";
    let smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
    let refused = |rest: &str| (format!("{post}{rest}"), true);
    vec![
        refused(&format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}")),
        (format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{smuggled}"), false),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n{smuggled}"), false),
        refused("Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}xxx"),
        refused("Content-Length: 4, 5\r\n\r\n{}xx"),
        refused("Content-Length: -1\r\n\r\n{}"),
        refused("Content-Length: +2\r\n\r\n{}"),
        refused("Content-Length: 0x2\r\n\r\n{}"),
        refused("Content-Length: 18446744073709551616\r\n\r\n{}"),
        refused("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n"),
        refused("Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
        refused("Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n"),
        refused("Transfer-Encoding: identity\r\n\r\n{}"),
        refused("Transfer-Encoding: gzip\r\n\r\n{}"),
        refused("Content-Length : 2\r\n\r\n{}"),
        refused("X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}"),
        refused("X: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
        ("GET / HTTP/9.9\r\nHost: here\r\n\r\n".to_owned(), true),
        ("GET  / HTTP/1.1\r\nHost: here\r\n\r\n".to_owned(), true),
        ("GET /\u{0} HTTP/1.1\r\nHost: here\r\n\r\n".to_owned(), true),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}".to_owned(), true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), true),
        (format!("GET / HTTP/1.1\r\nHost: here\r\n{}\r\n", "X: y\r\n".repeat(200)), true),
        (format!("GET / HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024)), true),
        (format!("GET /{} HTTP/1.1\r\nHost: here\r\n\r\n", "a".repeat(64 * 1024)), true),
    ]
}

#[tokio::test]
async fn row_19_requests_two_servers_would_read_differently() {
    let world = World::start().await;
    for (request, is_refused) in row_19() {
        // The answer ends: the connection is closed in every case.
        let answer = String::from_utf8_lossy(&raw(&world.server, request.as_bytes()).await).into_owned();
        let answers = answer.matches("HTTP/1.1 ").count();
        let name: String = request.chars().take(160).collect();
        assert!(answers <= 1, "something after it was read: {name}\n{answer}");
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        let is_refusal = ["400", "408", "411", "413", "414", "431", "501", "505", "closed"].contains(&status);
        assert!(is_refusal && (!is_refused || status != "408"), "{status}: {name}");
    }
    world.unharmed().await;
}

/// Bytes that begin something and are followed by nothing.
pub fn row_21() -> Vec<&'static str> {
    vec![
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: here\r\n",
        "GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        "POST /api/v1/nothing HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n{",
    ]
}

#[tokio::test]
async fn row_21_requests_that_never_end() {
    let world = World::start().await;
    let began = Instant::now();
    let unfinished = row_21().into_iter().map(|bytes| raw(&world.server, bytes.as_bytes()));
    let dribble = async {
        let mut stream = TcpStream::connect(world.server.address).await.expect("the server listens");
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
        while stream.write_all(b"X: y\r\n").await.is_ok() {
            sleep(Duration::from_secs(2)).await;
        }
    };
    // `raw` waits for the end; nothing else ends these.
    tokio::join!(join_all(unfinished), in_time(dribble));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    world.unharmed().await;
}

/// Origins of pages that are not on the list.
pub fn row_22() -> Vec<&'static str> {
    vec![
        "https://evil.example.com",
        "null",
        "http://app.example.com",
        "https://app.example.com.evil.com",
        "https://app.example.com:8443",
        "https://APP.example.com@evil.com",
        "file://",
        "x",
    ]
}

#[tokio::test]
async fn row_22_foreign_pages() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let token = format!("Bearer {}", eve.token);
    let http = reqwest::Client::new();
    for origin in row_22() {
        for path in ["/api/v1/users/me", "/socket.io/?EIO=4&transport=polling"] {
            let preflight = http.request(Method::OPTIONS, world.server.url(path)).header(header::ORIGIN, origin);
            let preflight = preflight.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
            let request = http.get(world.server.url(path)).header(header::ORIGIN, origin).bearer_auth(&eve.token);
            for (request, refused) in [(preflight, path.starts_with("/socket")), (request, true)] {
                let answer = request.send().await.expect("an answer");
                assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin} {path}");
                assert!(!refused || answer.status() == 403, "{origin} {path}: {}", answer.status());
            }
        }
        for path in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
            let opened = Socket::try_open(&world.server, path, &[("origin", origin), ("authorization", &token)]).await;
            assert_eq!(opened.err().map(|refused| refused.status().as_u16()), Some(403), "{origin} {path}");
        }
    }
    let listed = http.get(world.server.url("/api/v1/users/me")).header(header::ORIGIN, "https://app.example.com");
    let answer = listed.bearer_auth(&eve.token).send().await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN]),
        (200, &"https://app.example.com".parse().expect("text"))
    );
    let own = http.get(world.server.url("/api/v1/users/me")).header(header::ORIGIN, world.server.url(""));
    assert_eq!(own.bearer_auth(&eve.token).send().await.expect("an answer").status(), 200);
    world.unharmed().await;
}

#[tokio::test]
async fn row_22_every_answer_says_how_it_may_be_used() {
    let world = World::start().await;
    for path in [
        "/",
        "/docs",
        "/assets/app.js",
        "/healthz",
        "/nothing",
        "/api/v1/users/me",
        "/ws",
        "/socket.io/",
        "/socket.io/?EIO=4&transport=polling",
    ] {
        let answer = reqwest::get(world.server.url(path)).await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!((header("x-content-type-options"), header("x-frame-options")), ("nosniff", "DENY"), "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
    }
    world.unharmed().await;
}

#[tokio::test]
async fn row_23_three_hundred_idle_connections_and_more_strangers_than_an_address_may_have() {
    let world = World::start_with(Settings::default().with("--trusted-proxies=127.0.0.1")).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(world.server.address).await.expect("accepted"));
    }
    let path = "/socket.io/?EIO=4&transport=websocket";
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(Socket::try_open(&world.server, path, &from("192.0.2.1")).await.expect("admitted"));
    }
    let refused = Socket::try_open(&world.server, path, &from("192.0.2.1")).await.err().expect("one too many");
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().expect("text")));
    Socket::try_open(&world.server, path, &from("192.0.2.2")).await.expect("another address");
    strangers.pop();
    world.unharmed().await;
}

/// With a good token, so that none of them counts as a user's connection, either.
#[tokio::test]
async fn row_23_who_left_the_namespace_is_a_stranger_again() {
    // None of them leaves before the last one came, however slow the machine is.
    let settings = Settings::default().with("--trusted-proxies=127.0.0.1").with("--connect-timeout=60s");
    let world = World::start_with(settings).await;
    let eve = world.register("eve").await;
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut left = Vec::new();
    let mut refused = None;
    for _ in 0..60 {
        let from = [("x-forwarded-for", "192.0.2.1")];
        let Ok(mut socket) = Socket::try_open(&world.server, path, &from).await else {
            refused = Some(left.len());
            break;
        };
        assert!(socket.text().await.starts_with('0'));
        socket.send(&format!(r#"40{{"token":"{}"}}"#, eve.token)).await;
        assert!(socket.text().await.starts_with("40"));
        socket.send("41").await;
        // Answered by one that has a place still.
        socket.send("40/nowhere,").await;
        assert!(socket.text().await.starts_with("44"));
        left.push(socket);
    }
    assert_eq!(refused, Some(50));
    drop(left);
    world.unharmed().await;
}

/// A request whose answer is far larger than what the system keeps, on a socket that keeps little.
async fn ask_and_never_read(world: &World, path: &str, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("set");
    let mut stream = socket.connect(world.server.address).await.expect("accepted");
    let request = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("read");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_answers_nobody_reads() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    let group = world.api.group(&eve, false, &[]).await.expect("a group");
    let mut client = world.connect(&eve).await;
    for _ in 0..100 {
        let draft = json!({ "groupId": group, "content": "\u{1f600}".repeat(10_000) });
        client.request("send_message", draft).await.expect("stored");
    }
    let path = format!("conversations/{group}/messages?limit=100");
    let whole = world.request(Method::GET, &path).bearer_auth(&eve.token).send().await.expect("a page");
    let whole = whole.bytes().await.expect("a page").len();
    let streams = join_all((0..20).map(|_| ask_and_never_read(&world, &path, &eve.token))).await;
    for stream in &streams {
        in_time(stream.readable()).await.expect("the answer begins");
    }
    // The bound itself: a write that nobody takes for 10 s.
    sleep(Duration::from_secs(13)).await;
    for mut stream in streams {
        let mut received = Vec::new();
        let _ = in_time(stream.read_to_end(&mut received)).await;
        assert!(received.len() < whole, "{} of {whole}", received.len());
    }
    world.unharmed().await;
}

/// Of one user's connections that do not read only so many have an answer that waits for them, none of it larger than the
/// longest page of plain text; her other calls have to wait, and those of others do not.
#[tokio::test(flavor = "multi_thread")]
async fn row_24_answers_of_one_user_take_bounded_memory() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let group = world.api.group(&eve, false, &[]).await.expect("a group");
    let mut client = world.connect(&eve).await;
    for _ in 0..100 {
        let draft = json!({ "groupId": group, "content": format!("{}x", "\u{1}".repeat(9_999)) });
        client.request("send_message", draft).await.expect("stored");
    }
    let path = format!("conversations/{group}/messages?limit=100");
    let whole = world.request(Method::GET, &path).bearer_auth(&eve.token).send().await.expect("a page");
    let whole = whole.bytes().await.expect("a page").len();
    assert!((500_000..1_200_000).contains(&whole), "{whole}");

    let streams = join_all((0..60).map(|_| ask_and_never_read(&world, &path, &eve.token))).await;
    let mut answered = 0;
    for stream in &streams {
        in_time(stream.readable()).await.expect("it begins");
        let mut status = [0; 12];
        let _ = stream.peek(&mut status).await;
        answered += usize::from(status.ends_with(b"200"));
    }
    assert!((16..=32).contains(&answered), "the others have no turn in time: {answered}");
    world.api.get(&bob, "users/me").await.expect("another user's calls have turns of their own");
    drop(streams);
    let again = async { while world.api.get(&eve, "users/me").await.is_err() {} };
    in_time(again).await;
    world.unharmed().await;
}

#[tokio::test]
async fn row_24_long_polls_of_one_user_are_bounded() {
    let world = World::start_with(Settings::default().with("--connections-per-user=3")).await;
    let eve = world.register("eve").await;
    let start = world.api.get(&eve, "sync").await.expect("a cursor");
    let path = format!("sync?cursor={}&waitMs=2000", start["cursor"].as_str().expect("a cursor"));
    let polls = join_all((0..10).map(|_| world.request(Method::GET, &path).bearer_auth(&eve.token).send())).await;
    let mut statuses: Vec<_> = polls.into_iter().map(|answer| answer.expect("an answer").status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[200; 3].as_slice(), &[429; 7]].concat());
    world.unharmed().await;
}
