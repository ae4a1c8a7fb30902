//! Socket.IO protocol 5 over Engine.IO 4, as stock clients of version 4 speak it: websocket, long polling, and the
//! upgrade from one to the other. Namespace `/` only, text only.

pub(crate) mod engine;
mod engines;
mod http;
pub(crate) mod packet;
pub(super) mod polling;
pub(crate) mod posts;
mod upgrade;

use std::{net::IpAddr, sync::Arc};

use axum::{Extension, Router, routing::any};
use bytes::Bytes;
use messenger_core::{Error, ErrorKind, limits::FRAME_BYTES_MAX};
use serde_json::json;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use self::{
    engines::{Engines, UnconnectedPermit},
    packet::{Auth, Body, Event, Packet},
};
use super::{Connection, End, Protocol, link::Link};
use crate::session::{Gateway, Handshake, ReplyTo, Resume, Session, WireFormat};

/// CONNECT packets of one client: each costs a signature to verify, before anybody knows whose it is.
const CONNECTS_MAX: u32 = 32;

/// `/socket.io/`, with an own table of engines.
pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/socket.io/", any(http::serve))
        .route("/socket.io", any(http::serve))
        .layer(Extension(Arc::new(Engines::default())))
}

/// What Socket.IO keeps of a connection.
pub(super) struct SocketIo {
    address: IpAddr,
    /// Of the first HTTP request; a token in CONNECT comes before it.
    token: Option<Box<str>>,
    /// Held as long as the client is not connected.
    unconnected: Option<UnconnectedPermit>,
    connects_left: u32,
    engines: Arc<Engines>,
}

impl SocketIo {
    fn new(engines: &Arc<Engines>, address: IpAddr, token: Option<&str>, permit: UnconnectedPermit) -> Self {
        let (token, unconnected, engines) = (token.map(Into::into), Some(permit), Arc::clone(engines));
        Self { address, token, unconnected, connects_left: CONNECTS_MAX, engines }
    }

    fn connection(self, gateway: &Arc<Gateway>, link: Link) -> Connection<Self> {
        let mut connection = Connection::new(gateway, link, None, self);
        connection.heartbeat.expect_connect(gateway.config.connect_timeout);
        connection
    }
}

impl Protocol for SocketIo {
    const TOO_BIG: u16 = 1009;

    async fn receive(connection: &mut Connection<Self>, text: Utf8Bytes) -> Result<(), End> {
        match engine::Packet::decode(&text).map_err(|_| End::Malformed)? {
            engine::Packet::Close => Err(End::Left),
            engine::Packet::Pong => {
                connection.heartbeat.beat();
                Ok(())
            }
            engine::Packet::Message(message) => connection.packet(message).await,
        }
    }

    fn binary(_: &mut Connection<Self>) -> Result<(), End> {
        Err(End::Malformed)
    }

    async fn ping(link: &mut Link) -> Result<(), End> {
        link.say(Bytes::from_static(engine::PING.as_bytes())).await
    }

    fn farewell() -> Option<Bytes> {
        Some(Bytes::from_static(b"41"))
    }
}

impl Connection<SocketIo> {
    async fn packet(&mut self, message: &str) -> Result<(), End> {
        let packet = Packet::decode(message).map_err(|_| End::Malformed)?;
        let is_main = packet.namespace == "/";
        match packet.body {
            Body::Connect(_) if !is_main => {
                let refusal = format!(r#"44{},{{"message":"Invalid namespace"}}"#, packet.namespace);
                self.link.say(refusal.into()).await
            }
            Body::Connect(auth) if self.session.is_none() => self.connect(&auth).await,
            Body::Disconnect => {
                if is_main && self.session.take().is_some() {
                    self.leave()?;
                }
                Ok(())
            }
            Body::Event(event) if is_main => self.event(&event, message.len()),
            Body::Ignored => Ok(()),
            Body::Connect(_) | Body::Event(_) => Err(End::Malformed),
        }
    }

    async fn connect(&mut self, auth: &Auth<'_>) -> Result<(), End> {
        self.protocol.connects_left = self.protocol.connects_left.checked_sub(1).ok_or(End::Unconnected)?;
        let resume = match auth.pid.as_str() {
            Some(pid) => Resume::Pid { pid, offset: auth.offset.as_str() },
            None => Resume::None,
        };
        let token = auth.token.as_str().or(self.protocol.token.as_deref());
        let handshake = Handshake { wire: WireFormat::SocketIo, token, resume, address: self.protocol.address };
        let answer = match Session::open(&self.gateway, handshake).await {
            Ok(session) => {
                let connected = session.connected();
                let answer = format!("40{}", json!({ "sid": connected.sid, "pid": connected.pid }));
                self.session = Some(session);
                self.protocol.unconnected = None;
                self.link.connected();
                self.heartbeat.connected();
                answer
            }
            Err(error) => refusal(&error),
        };
        self.link.say(answer.into()).await
    }

    /// It is one of those on the way to a connection again, if there is room among them.
    fn leave(&mut self) -> Result<(), End> {
        let config = &self.gateway.config;
        let permit = self.protocol.engines.unconnected_permit(self.protocol.address, config.unconnected_per_address);
        self.protocol.unconnected = Some(permit.ok_or(End::Unconnected)?);
        self.heartbeat.expect_connect(config.connect_timeout);
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, bytes: usize) -> Result<(), End> {
        let session = self.session.as_mut().ok_or(End::Malformed)?;
        let reply_to = event.ack.map_or(ReplyTo::None, ReplyTo::Ack);
        if bytes > FRAME_BYTES_MAX {
            session.refuse_event(&super::too_large(), &event.name, event.data, reply_to);
        } else {
            session.receive(&event.name, event.data, reply_to);
        }
        Ok(())
    }
}

/// CONNECT_ERROR.
fn refusal(error: &Error) -> String {
    let kind = error.kind();
    let mut refusal = json!({
        "message": error.message(),
        "data": { "code": kind.code(), "retryable": kind.is_retryable() },
    });
    if kind == ErrorKind::Internal {
        let id = Uuid::new_v4().to_string();
        tracing::error!(request.id = id, ?error, "a connection was refused");
        refusal["data"]["requestId"] = id.into();
    }
    if let Some(after) = error.retry_after() {
        refusal["data"]["retryAfterMs"] = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into();
    }
    format!("44{refusal}")
}
