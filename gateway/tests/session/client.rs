//! A client that drives its session itself, as a transport does.

use std::{collections::VecDeque, net::Ipv4Addr, sync::Arc};

use messenger_core::Error;
use messenger_gateway::{
    Gateway,
    session::{CloseReason, Handshake, ReplyTo, Resume, Session, WireFormat},
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::time::timeout;

use crate::world::{SOON, User};

pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it takes too long")
}

pub struct Client {
    pub session: Session,
    waiting: VecDeque<Value>,
}

impl Client {
    pub async fn connect(gateway: &Arc<Gateway>, user: &User) -> Self {
        Self::resume(gateway, user, Resume::None).await.expect("connects")
    }

    pub async fn resume(gateway: &Arc<Gateway>, user: &User, resume: Resume<'_>) -> Result<Self, Error> {
        let address = Ipv4Addr::LOCALHOST.into();
        let handshake = Handshake { wire: WireFormat::Plain, token: Some(&user.token), resume, address };
        let session = in_time(Session::open(gateway, handshake)).await?;
        Ok(Self { session, waiting: VecDeque::new() })
    }

    /// Sends an event without waiting for anything.
    pub fn emit(&mut self, event: &str, data: &Value) {
        self.emit_with(event, data, ReplyTo::None);
    }

    pub fn emit_with(&mut self, event: &str, data: &Value, reply_to: ReplyTo) {
        let data = to_raw_value(data).expect("JSON");
        self.session.receive(event, Some(&data), reply_to);
    }

    /// Sends an event and gives its one answer, keeping what comes before it.
    pub async fn ask(&mut self, event: &str, data: &Value) -> Value {
        self.emit_with(event, data, ReplyTo::Id("\"q\"".into()));
        let mut before = VecDeque::new();
        let answer = loop {
            let frame = self.next().await;
            if frame["id"] == "q" {
                break frame;
            }
            before.push_back(frame);
        };
        before.append(&mut self.waiting);
        self.waiting = before;
        answer
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        in_time(async {
            loop {
                if let Some(frame) = self.waiting.pop_front() {
                    return frame;
                }
                self.turn().await;
            }
        })
        .await
    }

    /// The next frame of this event; others are left out.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["event"] == name {
                return frame;
            }
        }
    }

    /// One turn of the loop a transport has.
    pub async fn turn(&mut self) {
        let outbound = self.session.outbound();
        tokio::select! {
            () = outbound.ready() => {
                let frames = outbound.take(64);
                assert!(!frames.is_empty(), "closed: {:?}", outbound.closing());
                let frames = frames.into_iter().map(|frame| serde_json::from_slice::<Value>(frame.as_bytes()));
                self.waiting.extend(frames.map(|frame| frame.expect("JSON")));
            }
            () = self.session.maintain() => {}
        }
    }

    /// Drives the session until it is to be closed.
    pub async fn closed(&mut self) -> CloseReason {
        let outbound = self.session.outbound();
        in_time(async {
            loop {
                if let Some(reason) = outbound.closing() {
                    return reason;
                }
                tokio::select! {
                    () = outbound.ready() => drop(outbound.take(64)),
                    () = self.session.maintain() => {}
                }
            }
        })
        .await
    }

    /// Everything that came before this: a round trip of the session's own.
    pub async fn so_far(&mut self) -> Vec<Value> {
        let answer = self.ask("nothing", &json!({})).await;
        assert_eq!(answer["data"]["code"], "UNKNOWN_EVENT");
        self.waiting.drain(..).collect()
    }
}

/// The content of a message frame.
pub fn content(frame: &Value) -> &str {
    frame["data"]["content"].as_str().unwrap_or_else(|| panic!("no message: {frame}"))
}
