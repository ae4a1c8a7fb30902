//! Events made ready for a wire: complete text frames, shared by all receivers.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use messenger_core::{Error, ErrorKind, FieldViolation};
use serde::Serialize;

/// How a connection wants its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// Engine.IO packets with Socket.IO packets of namespace "/" in them: `42["event",{..},"cursor"]`.
    SocketIo,
    /// `{"event":"..","data":{..},"cursor"?:"..","id"?:".."}`.
    Plain,
}

impl WireFormat {
    /// Every wire there is.
    pub const ALL: [Self; 2] = [Self::SocketIo, Self::Plain];
}

/// Bytes of all frames of this process, wherever they wait: one shared by a thousand receivers counts once. A measure of
/// memory, and therefore the process's, not a gateway's.
static ALIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The text of a frame, counted as long as it lives.
struct Text(Vec<u8>);

impl Text {
    fn shared(text: Vec<u8>) -> Bytes {
        ALIVE_BYTES.fetch_add(text.len(), Ordering::Relaxed);
        Bytes::from_owner(Self(text))
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        ALIVE_BYTES.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// One event, complete for its wire; a clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// Bytes of all frames there are.
    #[must_use]
    pub fn alive_bytes() -> usize {
        ALIVE_BYTES.load(Ordering::Relaxed)
    }

    /// The UTF-8 text. Socket.IO: one Engine.IO packet; plain: one text frame.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text itself.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Bytes of the text.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// An event: `body` is a JSON object, `cursor` is there for durable events only.
    #[must_use]
    pub fn event(wire: WireFormat, name: &str, body: &[u8], cursor: Option<&str>) -> Self {
        let mut text = Vec::with_capacity(body.len() + name.len() + cursor.map_or(0, str::len) + 40);
        let (before, between, after) = match wire {
            WireFormat::SocketIo => ("42[\"", "\",", ",\""),
            WireFormat::Plain => ("{\"event\":\"", "\",\"data\":", ",\"cursor\":\""),
        };
        for part in [before.as_bytes(), name.as_bytes(), between.as_bytes(), body] {
            text.extend_from_slice(part);
        }
        if let Some(cursor) = cursor {
            for part in [after, cursor, "\""] {
                text.extend_from_slice(part.as_bytes());
            }
        }
        text.push(match wire {
            WireFormat::SocketIo => b']',
            WireFormat::Plain => b'}',
        });
        Self(Text::shared(text))
    }

    /// The one answer to a request that asked for one; `None` when it did not.
    #[must_use]
    pub fn answer(wire: WireFormat, reply_to: &ReplyTo, name: &str, body: &[u8]) -> Option<Self> {
        let mut text = Vec::with_capacity(body.len() + 64);
        match (wire, reply_to) {
            (_, ReplyTo::None) => return None,
            (WireFormat::SocketIo, ReplyTo::Ack(id)) => {
                text.extend_from_slice(format!("43{id}[").as_bytes());
                text.extend_from_slice(body);
                text.push(b']');
            }
            (_, reply_to) => {
                text.extend_from_slice(format!("{{\"event\":\"{name}\",\"data\":").as_bytes());
                text.extend_from_slice(body);
                text.extend_from_slice(b",\"id\":");
                text.extend_from_slice(reply_to.as_json().as_bytes());
                text.push(b'}');
            }
        }
        Some(Self(Text::shared(text)))
    }
}

/// Where the one answer of a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyTo {
    /// No answer was asked for: success is silent, errors are `error` events.
    None,
    /// The ack id of a Socket.IO event.
    Ack(u64),
    /// The `id` of a plain frame: a JSON string or number, exactly as it came.
    Id(Box<str>),
}

impl ReplyTo {
    fn as_json(&self) -> String {
        match self {
            Self::None => "null".to_owned(),
            Self::Ack(id) => id.to_string(),
            Self::Id(json) => json.to_string(),
        }
    }
}

/// `error`, and the `error` member of an ack.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorObject<'a> {
    /// The stable code.
    pub code: &'static str,
    /// For people.
    pub message: &'a str,
    /// The request that failed; absent when the frame could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
    /// Of a failed send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<&'a str>,
    /// Of INTERNAL: names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// Milliseconds after which trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Fields that break a rule.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub fields: &'a [FieldViolation],
}

impl<'a> ErrorObject<'a> {
    /// The public part of an error.
    #[must_use]
    pub fn new(error: &'a Error, event: Option<&'a str>, client_message_id: Option<&'a str>) -> Self {
        let retry_after_ms = error.retry_after().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        Self {
            code: error.kind().code(),
            message: if error.kind() == ErrorKind::Internal { "internal error" } else { error.message() },
            event,
            client_message_id,
            request_id: None,
            retry_after_ms,
            fields: error.fields(),
        }
    }
}

/// The JSON of an object of ours.
#[must_use]
pub fn json(object: &impl Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    serde_json::to_writer(&mut text, object).expect("our objects have text keys and a Vec takes every byte");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: Frame) -> String {
        String::from_utf8(frame.into_bytes().to_vec()).expect("UTF-8")
    }

    #[test]
    fn durable_events_carry_the_cursor_and_others_do_not() {
        let plain = Frame::event(WireFormat::Plain, "new_message", b"{\"id\":1}", Some("c"));
        assert_eq!(text(plain), r#"{"event":"new_message","data":{"id":1},"cursor":"c"}"#);
        let socket_io = Frame::event(WireFormat::SocketIo, "new_message", b"{\"id\":1}", Some("c"));
        assert_eq!(text(socket_io), r#"42["new_message",{"id":1},"c"]"#);
        assert_eq!(text(Frame::event(WireFormat::SocketIo, "error", b"{}", None)), r#"42["error",{}]"#);
    }

    #[test]
    fn answers_repeat_the_id() {
        let ack = Frame::answer(WireFormat::SocketIo, &ReplyTo::Ack(7), "ack", b"{}").expect("asked for");
        assert_eq!(text(ack), "437[{}]");
        let id = ReplyTo::Id("\"a\"".into());
        let answer = Frame::answer(WireFormat::Plain, &id, "ack", b"{}").expect("asked for");
        assert_eq!(text(answer), r#"{"event":"ack","data":{},"id":"a"}"#);
        assert_eq!(Frame::answer(WireFormat::Plain, &ReplyTo::None, "ack", b"{}"), None);
    }

    #[test]
    fn an_error_shows_its_public_part_only() {
        let error = Error::internal("the database said no");
        let text = String::from_utf8(json(&ErrorObject::new(&error, Some("send_message"), None))).expect("UTF-8");
        assert_eq!(text, r#"{"code":"INTERNAL","message":"internal error","event":"send_message"}"#);
    }
}
