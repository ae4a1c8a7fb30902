//! Engine.IO 4 on the wire: packets, payloads of several packets, the handshake. Text only; binary is refused.

use messenger_core::{Error, ErrorKind, limits::FRAME_BYTES_MAX};
use serde_json::json;

use crate::transport::heartbeat::Rhythm;

/// Between the packets of one polling body.
pub const SEPARATOR: char = '\u{1e}';
/// Packets in one polling answer: python-engineio refuses more.
pub const PACKETS_PER_ANSWER_MAX: usize = 16;

/// Sent to a poll that has to end without a packet of its own.
pub const NOOP: &str = "6";
/// Ends an engine.
pub const CLOSE: &str = "1";
/// Asks for a sign of life.
pub const PING: &str = "2";
/// First text of a websocket that wants to replace polling, and its answer.
pub const PROBE: (&str, &str) = ("2probe", "3probe");
/// Says that the websocket replaces polling from here on.
pub const UPGRADE: &str = "5";

/// What a client may send on an open engine.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `1`: the client leaves.
    Close,
    /// `3`: a sign of life.
    Pong,
    /// `4…`: a Socket.IO packet.
    Message(&'a str),
}

impl<'a> Packet<'a> {
    /// Reads one packet.
    ///
    /// # Errors
    /// MALFORMED_FRAME for anything a client of version 4 does not send on an open engine, binary included.
    pub fn decode(text: &'a str) -> Result<Self, Error> {
        match (text.as_bytes().first(), text.get(1..)) {
            (Some(b'4'), Some(message)) => Ok(Self::Message(message)),
            (Some(b'3'), Some("")) => Ok(Self::Pong),
            (Some(b'1'), Some("")) => Ok(Self::Close),
            _ => Err(Error::new(ErrorKind::MalformedFrame, "not an Engine.IO 4 packet")),
        }
    }
}

/// The packets of a polling body, in order.
pub fn packets(body: &str) -> impl Iterator<Item = &str> {
    body.split(SEPARATOR)
}

/// One polling answer out of packets.
pub fn join<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    for packet in packets {
        if !body.is_empty() {
            body.push(SEPARATOR as u8);
        }
        body.extend_from_slice(packet);
    }
    body
}

/// The first packet of an engine.
pub fn open(sid: &str, upgrades: &[&str], rhythm: Rhythm) -> String {
    let (interval, timeout) = (rhythm.interval.as_millis(), rhythm.timeout.as_millis());
    let open = json!({
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": u64::try_from(interval).unwrap_or(u64::MAX),
        "pingTimeout": u64::try_from(timeout).unwrap_or(u64::MAX),
        "maxPayload": FRAME_BYTES_MAX,
    });
    format!("0{open}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn reads_what_clients_send() {
        assert_eq!(Packet::decode("1").expect("close"), Packet::Close);
        assert_eq!(Packet::decode("3").expect("pong"), Packet::Pong);
        assert_eq!(Packet::decode("4").expect("empty message"), Packet::Message(""));
        assert_eq!(Packet::decode("40{\"a\":1}").expect("message"), Packet::Message("0{\"a\":1}"));
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "0", "2", "2probe", "5", "6", "7", "abc", "bAQIDBA==", "13", "3x", "é4", " 4", "\u{1e}"] {
            assert_eq!(Packet::decode(text).expect_err(text).kind(), ErrorKind::MalformedFrame);
        }
    }

    #[test]
    fn the_handshake_has_the_five_fields() {
        let rhythm = Rhythm { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };
        let text = open("abc", &["websocket"], rhythm);
        let value: serde_json::Value = serde_json::from_str(&text[1..]).expect("JSON");
        let expected = json!({"sid": "abc", "upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 65_536});
        assert_eq!((&text[..1], value), ("0", expected));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Packet::decode(&text);
        }

        #[test]
        fn a_payload_comes_apart_as_it_was_joined(texts in prop::collection::vec("4[^\u{1e}]{0,20}", 1..20)) {
            let body = join(texts.iter().map(String::as_bytes));
            let body = String::from_utf8(body).expect("text");
            prop_assert_eq!(packets(&body).collect::<Vec<_>>(), texts);
        }
    }
}
