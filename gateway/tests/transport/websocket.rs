//! Plain WebSocket: the first frame, answers, bad frames that are answered, readers that are slow or gone.

use std::time::Duration;

use messenger_auth::TokenConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Socket, close_code, in_time, raw, session},
    server::{Server, Settings, User},
};

/// Messages that fill a connection whose client does not read.
const FILLING: usize = 90;

async fn open(server: &Server, user: &User) -> Socket {
    let token = format!("Bearer {}", user.token);
    let mut socket = Socket::try_open(server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    let first = socket.frame().await;
    assert_eq!(first["event"], "connected", "{first}");
    socket
}

#[tokio::test]
async fn the_first_frame_says_what_a_client_needs() {
    let server = Server::start(Settings::default()).await;
    let user = server.register().await;
    let token = format!("Bearer {}", user.token);
    let mut socket = Socket::try_open(&server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    let data = socket.frame().await["data"].take();
    assert!(data["sessionId"].is_string(), "{data}");
    assert_eq!(data["limits"]["frameBytesMax"], 65_536);
    let cursor = data["cursor"].as_str().expect("a cursor");
    let path = format!("/ws?cursor={cursor}");
    let mut resumed = Socket::try_open(&server, &path, &[("authorization", &token)]).await.expect("accepted");
    assert_eq!(resumed.frame().await["event"], "connected");
    let refused = Socket::try_open(&server, "/ws?cursor=mine", &[("authorization", &token)]).await.err();
    assert_eq!(refused.expect("refused").status(), 400);
}

#[tokio::test]
async fn an_answer_repeats_the_id() {
    let server = Server::start(Settings::default()).await;
    let mut socket = open(&server, &server.register().await).await;
    for id in [r#""a""#, "7", r#""\ud800""#] {
        socket.send(&format!(r#"{{"event":"no_such_event","data":{{}},"id":{id}}}"#)).await;
        let answer = socket.text().await;
        assert!(answer.contains(&format!(r#""id":{id}"#)) && answer.contains("UNKNOWN_EVENT"), "{answer}");
    }
}

#[tokio::test]
async fn bad_frames_are_answered_and_the_connection_stays() {
    let server = Server::start(Settings::default()).await;
    let mut socket = open(&server, &server.register().await).await;
    let deep = format!(r#"{{"event":"typing","data":{}"#, "[".repeat(30_000));
    for text in ["", "x", "[]", "null", "{}", r#"{"event":7}"#, r#"{"event":"a","id":{}}"#, r#"["a",{}]"#, &deep] {
        socket.send(text).await;
        let answer = socket.frame().await;
        assert_eq!(
            (&answer["event"], &answer["data"]["code"]),
            (&json!("error"), &json!("MALFORMED_FRAME")),
            "{answer}"
        );
    }
    socket.send_message(Message::binary(vec![0, 159, 146, 150])).await;
    assert_eq!(socket.frame().await["data"]["code"], "MALFORMED_FRAME");
    let data = json!({ "content": "x".repeat(70_000), "clientMessageId": "mine" });
    socket.send(&format!(r#"{{"event":"send_message","id":"big","data":{data}}}"#)).await;
    let answer = socket.frame().await;
    let error = &answer["data"];
    assert_eq!((&answer["id"], &error["code"]), (&json!("big"), &json!("PAYLOAD_TOO_LARGE")));
    assert_eq!((&error["event"], &error["clientMessageId"]), (&json!("send_message"), &json!("mine")));
    socket.send(r#"{"event":"no_such_event","id":1}"#).await;
    assert_eq!(socket.frame().await["id"], 1);
}

#[tokio::test]
async fn a_frame_over_1_mib_is_cut() {
    let server = Server::start(Settings::default()).await;
    let mut socket = open(&server, &server.register().await).await;
    socket.send(&"x".repeat(1024 * 1024 + 1)).await;
    assert_eq!(socket.close_code().await, 4413);
}

#[tokio::test]
async fn pings_are_answered_and_silence_is_closed() {
    let server = Server::start(Settings::hasty()).await;
    let mut socket = open(&server, &server.register().await).await;
    for number in 0..20_000_u32 {
        socket.send_message(Message::Ping(number.to_be_bytes().to_vec().into())).await;
        if number % 500 == 0 {
            assert!(!socket.pong().await.is_empty());
        }
    }
    // This client answers pings while it reads; one that does not read at all is closed.
    let token = server.register().await.token;
    let answer = raw(&server, &session(&token, &[])).await;
    assert_eq!(close_code(&answer), Some(1008));
}

#[tokio::test]
async fn a_goodbye_is_returned() {
    let server = Server::start(Settings::default()).await;
    let goodbye = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    let answer = raw(&server, &session(&server.register().await.token, &goodbye)).await;
    assert_eq!(close_code(&answer), Some(1000));
}

/// A reader with little room.
async fn late(server: &Server, user: &User) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("small");
    let mut late = socket.connect(server.address).await.expect("the server listens");
    late.write_all(&session(&user.token, &[])).await.expect("the server reads");
    // Until it is there: what it is sent before would be told nobody.
    late.read_exact(&mut [0; 256]).await.expect("a first frame");
    late
}

/// Sends more than the kernel takes of it, less than the queue of a connection.
async fn fill(server: &Server, from: &User, to: &User) {
    let mut sender = Socket::connected(server, &from.token).await;
    let draft = json!({ "receiverId": to.id, "content": "x".repeat(10_000) });
    for ack in 0..FILLING {
        sender.send(&format!(r#"42{ack}["send_message",{draft}]"#)).await;
    }
    for _ in 0..FILLING {
        while !sender.text().await.starts_with("43") {}
    }
}

/// Waits until a connection ended for this reason.
async fn ended(server: &Server, end: &str) {
    let figure = format!("messenger_connections_ended_total{{end=\"{end}\"}} 1");
    in_time(async {
        loop {
            let answer = reqwest::get(server.url("/metrics")).await.expect("an answer").text().await.expect("a text");
            if answer.lines().any(|line| line == figure) {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// It hangs in a write, and would have the deadline of that to be given more.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_hears_nothing_after_its_tokens_end() {
    let tokens = TokenConfig { access_token_ttl: Duration::from_secs(5), ..TokenConfig::default() };
    let server = Server::start_with(Settings::default(), tokens).await;
    let (ann, bob) = (server.register().await, server.register().await);
    let mut late = late(&server, &bob).await;
    fill(&server, &ann, &bob).await;
    ended(&server, "token_expired").await;
    let mut sender = Socket::connected(&server, &server.register().await.token).await;
    let draft = json!({ "receiverId": bob.id, "content": "too late" });
    sender.send(&format!(r#"421["send_message",{draft}]"#)).await;
    while !sender.text().await.starts_with("431") {}
    let mut received = Vec::new();
    let _ = in_time(late.read_to_end(&mut received)).await;
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("\"seq\":1,") && !text.contains("too late"));
    assert!(text.matches("\"seq\":").count() < FILLING, "what waited is left to the connection that resumes");
}

/// Its write is given up, but not what it is told: the cursor of its last message is all it has.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_from_a_draining_server_gets_no_message_behind_a_gap() {
    let server = Server::start(Settings::default()).await;
    let (ann, bob) = (server.register().await, server.register().await);
    let mut late = late(&server, &bob).await;
    fill(&server, &ann, &bob).await;
    let mut stopping = std::pin::pin!(server.stop());
    let is_waiting = tokio::time::timeout(Duration::from_secs(2), &mut stopping).await.is_err();
    let mut received = Vec::new();
    let (ended, _) =
        in_time(async { tokio::join!(async { !is_waiting || stopping.await }, late.read_to_end(&mut received)) }).await;
    assert!(ended, "everything ends in time");
    // The head of the answer is among the bytes that were read first; what follows begins within a frame or after one.
    let text = String::from_utf8_lossy(&received);
    let seqs: Vec<u64> = text
        .split("\"seq\":")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().expect("a first").parse().expect("a number"))
        .collect();
    assert!(!seqs.is_empty() && seqs.len() < FILLING, "{} messages", seqs.len());
    assert!(seqs.iter().zip(1..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_let_go_and_the_sender_is_not_held_up() {
    let server = Server::start(Settings::default()).await;
    let (ann, bob) = (server.register().await, server.register().await);
    // 18 MB: more than the queue and the kernel's buffers of one connection hold.
    let (rounds, window, content) = (36, 50, "x".repeat(10_000));
    let mut stalled = TcpStream::connect(server.address).await.expect("the server listens");
    stalled.write_all(&session(&bob.token, &[])).await.expect("the server reads");
    let mut reading = open(&server, &bob).await;
    let reader = tokio::spawn(async move {
        for _ in 0..rounds * window {
            while reading.frame().await["event"] != "new_message" {}
        }
    });
    let mut socket = Socket::connected(&server, &ann.token).await;
    let draft = json!({ "receiverId": bob.id, "content": content });
    for _ in 0..rounds {
        for ack in 0..window {
            socket.send(&format!(r#"42{ack}["send_message",{draft}]"#)).await;
        }
        for _ in 0..window {
            while !socket.text().await.starts_with("43") {}
        }
    }
    reader.await.expect("everything reached the connection that reads");
    let mut received = Vec::new();
    let _ = in_time(stalled.read_to_end(&mut received)).await;
    assert!(received.len() < rounds * window * content.len(), "{}", received.len());
}

#[tokio::test]
async fn what_is_sent_reaches_both_transports() {
    let server = Server::start(Settings::default()).await;
    let (ann, bob) = (server.register().await, server.register().await);
    let mut plain = open(&server, &bob).await;
    let mut socket = Socket::connected(&server, &ann.token).await;
    let draft = json!({ "receiverId": bob.id, "content": "hello \u{1e} there", "clientMessageId": "one" });
    socket.send(&format!(r#"421["send_message",{draft}]"#)).await;
    let (mut sent, mut acked): (Option<Value>, Option<Value>) = (None, None);
    while sent.is_none() || acked.is_none() {
        let text = socket.text().await;
        if let Some(ack) = text.strip_prefix("431") {
            acked = Some(serde_json::from_str::<Value>(ack).expect("JSON")[0].take());
        } else if let Some(event) = text.strip_prefix("42") {
            let mut event: Value = serde_json::from_str(event).expect("JSON");
            if event[0] == "message_sent" {
                assert!(event[2].is_string(), "the entry itself carries the cursor");
                sent = Some(event[1].take());
            }
        }
    }
    assert_eq!(sent, acked);
    let received = loop {
        let frame = plain.frame().await;
        if frame["event"] == "new_message" {
            break frame;
        }
    };
    assert_eq!(received["data"]["content"], "hello \u{1e} there");
    assert!(received["cursor"].is_string());
}
