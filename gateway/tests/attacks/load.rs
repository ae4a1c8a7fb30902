//! More than one may send, and readers that do not read.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use messenger_testkit::{TestClient, User, Wire};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Socket, in_time, session},
    server::Settings,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn row_84_three_thousand_messages_as_fast_as_possible() {
    let world = World::start_limited().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let mut flooder = world.connect(&eve).await;
    let (mut stored, mut refused) = (0, 0);
    let mut count = |answer: &Value| match answer["error"]["code"].as_str() {
        None => stored += 1,
        Some(code) => {
            assert_eq!(code, "RATE_LIMITED", "{answer}");
            assert!(answer["error"]["retryAfterMs"].as_u64().is_some_and(|millis| millis > 0), "{answer}");
            refused += 1;
        }
    };
    for _ in 0..100 {
        for _ in 0..30 {
            let draft = json!({ "receiverId": bob.id, "content": "x" });
            flooder.ask("send_message", draft).await.expect("it keeps its connection");
        }
        for _ in 0..30 {
            count(&flooder.answer().await.expect("answered").1);
        }
    }
    assert!(stored >= 30 && stored + refused == 3_000, "{stored} {refused}");
    world.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_84_ten_times_the_rate_for_ten_seconds_closes() {
    let world = World::start_with(Settings(vec!["--sends-per-user=2", "--send-burst-per-user=1000"])).await;
    let eve = world.register("eve").await;
    let token = format!("Bearer {}", eve.token);
    let mut socket = Socket::try_open(&world.server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    let mut ticks = interval(Duration::from_millis(20));
    let mut sent = 0;
    loop {
        ticks.tick().await;
        socket.try_send(r#"{"event":"no_such_event","id":1}"#).await;
        sent += 1;
        match socket.text_or_close_code().await {
            Ok(_) => assert!(sent < 2_000, "never closed"),
            Err(code) => break assert_eq!(code, Some(4429)),
        }
    }
    assert!(sent > 200, "closed after {sent}, and not at once");
    world.unharmed().await;
}

/// What is no event costs as much to read.
#[tokio::test(flavor = "multi_thread")]
async fn row_84_whatever_comes_at_ten_times_the_rate_closes() {
    let world = World::start_with(Settings(vec!["--sends-per-user=2", "--send-burst-per-user=1000"])).await;
    let eve = world.register("eve").await;
    let (ping, pong) = (Message::Ping(Bytes::new()), Message::Pong(Bytes::new()));
    let floods = ["430[]".into(), "40/nowhere,".into(), "3".into(), ping, pong].map(async |message: Message| {
        let mut socket = Socket::connected(&world.server, &eve.token).await;
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                answer = socket.text_or_close_code() => if let Err(code) = answer { break (message, code) },
                _ = ticks.tick() => socket.try_send(message.clone()).await,
            }
        }
    });
    let floods = timeout(Duration::from_secs(60), join_all(floods)).await.expect("all are closed");
    for (message, code) in floods {
        assert_eq!(code, Some(4429), "{message:?}");
    }
    world.unharmed().await;
}

fn refused(answers: Vec<reqwest::Result<Response>>) -> usize {
    let answers = answers.into_iter().map(|answer| answer.expect("an answer"));
    let refused = answers.filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
    refused.inspect(|answer| assert!(answer.headers().contains_key(header::RETRY_AFTER))).count()
}

/// Each goes to all participants, as a message does.
#[tokio::test(flavor = "multi_thread")]
async fn row_84_changes_of_a_conversation_without_end() {
    let world = World::start_limited().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let group = world.api.group(&eve, false, &[&bob]).await.expect("a group");
    let path = |rest: &str| format!("conversations/{group}{rest}");
    let bobs = path(&format!("/participants/{}", bob.id));
    for (method, path, body) in [
        (Method::PATCH, path(""), json!({ "name": "x" })),
        (Method::PATCH, bobs.clone(), json!({ "role": "ADMIN" })),
        (Method::POST, path("/participants"), json!({ "userIds": [bob.id] })),
        (Method::DELETE, bobs, json!({})),
        (Method::POST, path("/leave"), json!({})),
        (Method::POST, "conversations".to_owned(), json!({ "type": "GROUP", "name": "x" })),
    ] {
        let change = || world.request(method.clone(), &path).bearer_auth(&eve.token).json(&body).send();
        let refused = refused(join_all((0..100).map(|_| change())).await);
        assert!(refused > 0, "{method} {path}");
    }
    world.unharmed().await;
}

/// Told that there is too much in a conversation, they would know that there is one.
#[tokio::test(flavor = "multi_thread")]
async fn row_84_strangers_do_not_use_up_the_rate_of_a_conversation() {
    let world = World::start_limited().await;
    let eve = world.register("eve").await;
    let group = world.api.group(&eve, false, &[]).await.expect("a group");
    let path = format!("conversations/{group}/messages");
    let mut member = world.connect(&eve).await;
    member.request("send_message", json!({ "groupId": group, "content": "first" })).await.expect("stored");
    let strangers = join_all(["ann", "bea", "cyd", "dan"].map(|name| world.register(name))).await;
    let knock = |stranger: &User| {
        let message = json!({ "content": "x" });
        world.request(Method::POST, &path).bearer_auth(&stranger.token).json(&message).send()
    };
    for answer in join_all(strangers.iter().cycle().take(100).map(knock)).await {
        assert_eq!(answer.expect("an answer").status(), StatusCode::NOT_FOUND);
    }
    member.request("send_message", json!({ "groupId": group, "content": "second" })).await.expect("stored");
    world.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_84_calls_of_one_user_without_end() {
    let world = World::start_with(Settings(vec!["--sends-per-user=2", "--send-burst-per-user=1000"])).await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let call = || world.request(Method::GET, "users/me").bearer_auth(&eve.token).send();
    assert!(refused(join_all((0..300).map(|_| call())).await) > 0);
    world.api.get(&bob, "users/me").await.expect("another user's calls are counted apart");
    world.unharmed().await;
}

/// Eve's connection that is never read, and somebody who writes to her 5,000 times.
#[tokio::test(flavor = "multi_thread")]
async fn row_85_a_reader_that_never_reads() {
    let world = World::start().await;
    let (eve, bob) = (world.register("eve").await, world.register("bob").await);
    let mut stalled = TcpStream::connect(world.server.address).await.expect("the server listens");
    stalled.write_all(&session(&eve.token, b"")).await.expect("the server reads");
    let mut reading = TestClient::connect(world.server.address, Wire::Plain, &eve).await.expect("connected");
    let reader = tokio::spawn(async move {
        for number in 1..=5_000 {
            assert_eq!(reading.until("new_message").await.expect("heard")["seq"], number);
        }
    });
    let mut writer = world.connect(&bob).await;
    let draft = json!({ "receiverId": eve.id, "content": "x".repeat(4_000) });
    for _ in 0..100 {
        for _ in 0..50 {
            writer.ask("send_message", draft.clone()).await.expect("open");
        }
        for _ in 0..50 {
            let (_, answer) = writer.answer().await.expect("answered");
            assert!(answer["error"].is_null(), "{answer}");
        }
    }
    reader.await.expect("the connection that reads got everything");
    let mut received = Vec::new();
    let _ = in_time(stalled.read_to_end(&mut received)).await;
    assert!(received.len() < 5_000 * 4_000, "it was closed: {}", received.len());
    world.unharmed().await;
}

/// Eight readers that never read, each below its own bound, and room for less than all of it.
#[tokio::test(flavor = "multi_thread")]
async fn row_85_what_waits_in_all_is_bounded() {
    let world = World::start_with(Settings::default().with("--queued-bytes-max=4194304")).await;
    let bob = world.register("bob").await;
    let mut writer = world.connect(&bob).await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let eve = world.register("eve").await;
        let mut stream = TcpStream::connect(world.server.address).await.expect("the server listens");
        stream.write_all(&session(&eve.token, b"")).await.expect("the server reads");
        stalled.push(stream);
        let draft = json!({ "receiverId": eve.id, "content": "x".repeat(8_000) });
        for _ in 0..150 {
            let answer = writer.request("send_message", draft.clone()).await.expect("answered");
            assert!(answer["error"].is_null(), "{answer}");
        }
    }
    // Nothing else closes them: what waits for each is below its own bound.
    let closed = async {
        while !figures(&world).await.contains("messenger_connections_ended_total{end=\"slow_consumer\"}") {
            tokio::task::yield_now().await;
        }
    };
    in_time(closed).await;
    drop(stalled);
    world.unharmed().await;
}

async fn figures(world: &World) -> String {
    reqwest::get(world.server.url("/metrics")).await.expect("an answer").text().await.expect("text")
}
