//! Frames of the plain WebSocket, byte by byte.

use messenger_testkit::User;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Socket, close_code, raw, session},
    world::World,
};

fn masked(head: &[u8], body: &[u8]) -> Vec<u8> {
    [head, &[0; 4], body].concat()
}

async fn close_with(frames: Vec<(&'static str, Vec<u8>)>, code: u16) {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for (what, bytes) in frames {
        let answer = raw(&world.server, &session(&eve.token, &bytes)).await;
        assert_eq!(close_code(&answer), Some(code), "{what}");
    }
    world.unharmed().await;
}

pub fn row_53() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("unmasked", vec![0x81, 0x01, b'x']),
        ("the first reserved bit", masked(&[0xc1, 0x81], b"x")),
        ("the second reserved bit", masked(&[0xa1, 0x81], b"x")),
        ("the third reserved bit", masked(&[0x91, 0x81], b"x")),
        ("opcode 3", masked(&[0x83, 0x81], b"x")),
        ("opcode 7", masked(&[0x87, 0x81], b"x")),
        ("opcode 11", masked(&[0x8b, 0x80], b"")),
        ("opcode 15", masked(&[0x8f, 0x80], b"")),
        ("a fragmented ping", masked(&[0x09, 0x80], b"")),
        ("a fragmented close", masked(&[0x08, 0x80], b"")),
        ("a ping of 126 bytes", masked(&[0x89, 0xfe, 0, 126], &[0; 126])),
        ("a pong of 126 bytes", masked(&[0x8a, 0xfe, 0, 126], &[0; 126])),
        ("a continuation of nothing", masked(&[0x80, 0x81], b"x")),
        ("a text inside a text", [masked(&[0x01, 0x81], b"x"), masked(&[0x81, 0x81], b"y")].concat()),
        ("a binary inside a text", [masked(&[0x01, 0x81], b"x"), masked(&[0x82, 0x81], b"y")].concat()),
    ]
}

#[tokio::test]
async fn row_53_broken_framing() {
    close_with(row_53(), 1002).await;
}

pub fn row_54() -> Vec<(&'static str, Vec<u8>)> {
    let text = |bytes: &[u8]| masked(&[0x81, 0x80 | bytes.len() as u8], bytes);
    vec![
        ("a broken sequence", text(&[0xc3, 0x28])),
        ("a surrogate", text(&[0xed, 0xa0, 0x80])),
        ("beyond Unicode", text(&[0xf4, 0x90, 0x80, 0x80])),
        ("an overlong slash", text(&[0xc0, 0xaf])),
        ("a cut sequence", text(&[0xe2, 0x82])),
        ("broken over two fragments", [masked(&[0x01, 0x81], &[0xc3]), masked(&[0x80, 0x81], b"(")].concat()),
    ]
}

#[tokio::test]
async fn row_54_texts_that_are_not_utf_8() {
    close_with(row_54(), 1007).await;
}

pub fn row_55() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("one byte", masked(&[0x88, 0x81], &[3])),
        ("code 0", masked(&[0x88, 0x82], &[0, 0])),
        ("code 999", masked(&[0x88, 0x82], &[0x03, 0xe7])),
        ("code 1005", masked(&[0x88, 0x82], &[0x03, 0xed])),
        ("code 1006", masked(&[0x88, 0x82], &[0x03, 0xee])),
        ("a reason of 126 bytes", masked(&[0x88, 0xfe, 0, 128], &[&[0x03, 0xe8][..], &[b'x'; 126]].concat())),
    ]
}

#[tokio::test]
async fn row_55_closes_that_are_none() {
    close_with(row_55(), 1002).await;
}

pub fn row_56() -> Vec<(&'static str, Vec<u8>)> {
    let claimed = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    vec![
        ("a length of 2^64-1", claimed(u64::MAX)),
        ("a length of 2^63-1", claimed(i64::MAX as u64)),
        ("20 MiB claimed", claimed(20 << 20)),
        ("1 MiB and a byte claimed", claimed((1 << 20) + 1)),
        ("8 MiB in fragments", fragments(128)),
    ]
}

fn fragments(count: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for number in 0..count {
        let opcode = u8::from(number == 0);
        frames.extend([opcode, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        frames.extend(vec![b'x'; 65_536]);
    }
    frames
}

#[tokio::test]
async fn row_56_lengths_beyond_the_bound() {
    close_with(row_56(), 4413).await;
}

async fn open(world: &World, user: &User) -> Socket {
    let token = format!("Bearer {}", user.token);
    let mut socket = Socket::try_open(&world.server, "/ws", &[("authorization", &token)]).await.expect("accepted");
    assert_eq!(socket.frame().await["event"], "connected");
    socket
}

#[tokio::test]
async fn row_58_twenty_thousand_pings() {
    let world = World::start().await;
    let mut socket = open(&world, &world.register("eve").await).await;
    for number in 0..20_000_u32 {
        socket.send_message(Message::Ping(number.to_be_bytes().to_vec().into())).await;
        if number % 500 == 0 {
            assert!(!socket.pong().await.is_empty());
        }
    }
    socket.send(r#"{"event":"no_such_event","id":1}"#).await;
    assert_eq!(socket.frame().await["id"], 1);
    world.unharmed().await;
}

/// Offers in `Sec-WebSocket-Extensions`.
pub fn row_59() -> Vec<&'static str> {
    vec![
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover, x-webkit-deflate-frame",
        "permessage-bzip2, mux; max-channels=4",
    ]
}

#[tokio::test]
async fn row_59_compression_is_not_granted() {
    let world = World::start().await;
    let eve = world.register("eve").await;
    for offer in row_59() {
        // And then a compressed text, which nobody agreed on.
        let head = String::from_utf8(session(&eve.token, b"")).expect("a head is text");
        let head = head.replace("Host: here\r\n", &format!("Host: here\r\nSec-WebSocket-Extensions: {offer}\r\n"));
        let bytes = [head.as_bytes(), &masked(&[0xc1, 0x81], b"x")].concat();
        let answer = raw(&world.server, &bytes).await;
        let head = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(head.starts_with("http/1.1 101") && !head.contains("sec-websocket-extensions"), "{head}");
        assert_eq!(close_code(&answer), Some(1002), "{offer}");
    }
    world.unharmed().await;
}
