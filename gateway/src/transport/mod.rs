//! The wires clients come over: Socket.IO and plain WebSocket. They translate; the session core decides.
//!
//! Each connection is one task around one loop ([`Connection::run`]): what the client sends, what waits to be
//! written, what the session has due, and the heartbeat. While it writes it does not read.

mod allowance;
mod heartbeat;
mod link;
mod socket;
pub mod socketio;
pub mod websocket;

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware::map_response, response::Response};
use bytes::Bytes;
use messenger_core::{Error, ErrorKind};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::{
    heartbeat::{Due, Heartbeat, Rhythm},
    link::{Link, Received},
};
use crate::{
    headers::protect,
    session::{CloseReason, Flood, Frame, Gateway, Outbound, Session},
};

/// How soon a write that the peer does not take is given up once the connection is to be closed.
const ABANDON_EVERY: Duration = Duration::from_millis(500);

/// Both transports.
pub fn routes() -> Router<Arc<Gateway>> {
    let routes = Router::new().merge(socketio::routes()).merge(websocket::routes());
    routes.layer(map_response(async |mut response: Response| {
        protect(&mut response);
        response
    }))
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer is not there any more.
    Gone,
    /// The peer said that it leaves.
    Left,
    /// The peer takes nothing.
    Stalled,
    /// The peer gave no sign of life.
    Silent,
    /// The peer did not connect in time.
    Unconnected,
    /// Not a WebSocket frame.
    Protocol,
    /// A text that is not UTF-8.
    NotText,
    /// More bytes than a message may have.
    TooBig,
    /// Not a packet of the protocol.
    Malformed,
    /// The session core wants it.
    Session(CloseReason),
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Left => "left",
            Self::Stalled => "stalled",
            Self::Silent => "ping timeout",
            Self::Unconnected => "connect timeout",
            Self::Protocol => "protocol error",
            Self::NotText => "not utf-8",
            Self::TooBig => "message too big",
            Self::Malformed => "malformed packet",
            Self::Session(reason) => reason.as_str(),
        }
    }
}

/// What makes one protocol different from the other on the shared loop.
pub(crate) trait Protocol: Sized + Send + 'static {
    /// The close code for a message over the hard bound.
    const TOO_BIG: u16;

    /// One text of the client.
    fn receive(connection: &mut Connection<Self>, text: Utf8Bytes) -> impl Future<Output = Result<(), End>> + Send;

    /// A binary message of the client.
    fn binary(connection: &mut Connection<Self>) -> Result<(), End>;

    /// Asks for a sign of life.
    fn ping(link: &mut Link) -> impl Future<Output = Result<(), End>> + Send;

    /// A last frame for a client that must not come back by itself.
    fn farewell() -> Option<Bytes>;
}

/// One connection and everything that is only its own.
pub(crate) struct Connection<P> {
    gateway: Arc<Gateway>,
    link: Link,
    session: Option<Session>,
    heartbeat: Heartbeat,
    flood: Flood,
    protocol: P,
}

enum Step {
    Received(Received),
    Writable,
    Maintained,
    Due(Due),
    Draining,
}

impl Step {
    /// Whether it costs the client nothing to have it happen again and again.
    const fn is_sent_by_client(&self) -> bool {
        matches!(self, Self::Received(Received::Text(_) | Received::Binary | Received::Ping | Received::Pong))
    }
}

impl<P: Protocol> Connection<P> {
    fn new(gateway: &Arc<Gateway>, link: Link, session: Option<Session>, protocol: P) -> Self {
        let (heartbeat, flood) = (Heartbeat::new(Rhythm::of(&gateway.config)), gateway.rates.flood());
        Self { gateway: Arc::clone(gateway), link, session, heartbeat, flood, protocol }
    }

    /// Serves the connection until it ends.
    async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        tracing::debug!(end = end.as_str(), "connection ended");
        metrics::counter!("messenger_connections_ended_total", "end" => end.as_str()).increment(1);
        self.finish(end).await;
    }

    async fn turn(&mut self) -> Result<(), End> {
        if let Some(reason) = self.session.as_ref().and_then(Session::closing) {
            return Err(End::Session(reason));
        }
        let step = self.step().await;
        if step.is_sent_by_client() && !self.flood.passes() {
            return Err(End::Session(CloseReason::Flood));
        }
        match step {
            Step::Received(Received::Text(text)) => P::receive(self, text).await,
            Step::Received(Received::Binary) => P::binary(self),
            Step::Received(Received::Pong) => {
                self.heartbeat.beat();
                Ok(())
            }
            Step::Received(Received::Upgraded(socket)) => self.link.upgrade(socket).await,
            Step::Received(Received::Ended(end)) => Err(end),
            Step::Received(Received::Poll | Received::Ping) | Step::Maintained => Ok(()),
            Step::Writable => self.write().await,
            Step::Due(Due::Ping) => unless_closing(self.session.as_mut(), P::ping(&mut self.link)).await,
            Step::Due(Due::Silent) => Err(End::Silent),
            Step::Due(Due::Unconnected) => Err(End::Unconnected),
            Step::Draining => Err(End::Session(CloseReason::Draining)),
        }
    }

    async fn step(&mut self) -> Step {
        let accepts = self.session.as_ref().is_none_or(Session::accepts);
        let outbound = self.session.as_ref().map(Session::outbound);
        let has_room = self.link.room() > 0;
        tokio::select! {
            received = self.link.receive(accepts) => Step::Received(received),
            () = ready(outbound.as_deref()), if has_room => Step::Writable,
            () = maintain(self.session.as_mut()) => Step::Maintained,
            due = self.heartbeat.due() => Step::Due(due),
            () = self.gateway.shutdown.token.cancelled(), if outbound.is_none() => Step::Draining,
        }
    }

    async fn write(&mut self) -> Result<(), End> {
        let Some(outbound) = self.session.as_ref().map(Session::outbound) else { return Ok(()) };
        let frames = outbound.take(self.link.room());
        let write = self.link.send(frames.into_iter().map(Frame::into_bytes));
        let written = unless_closing(self.session.as_mut(), write).await;
        if written.is_err() {
            // What was in hand is lost. Nothing behind it may be written: its cursor would lie beyond the gap.
            drop(outbound.take_rest());
        }
        written
    }

    async fn finish(mut self, end: End) {
        let (frames, _place) = self.session.take().map(Session::leave).unzip();
        let mut frames: Vec<_> = frames.into_iter().flatten().map(Frame::into_bytes).collect();
        let code = match end {
            End::Session(reason) => {
                frames.extend(P::farewell().filter(|_| reason.is_final()));
                reason.websocket_code()
            }
            End::Gone | End::Left | End::Stalled => 1000,
            End::Protocol | End::Malformed => 1002,
            End::NotText => 1007,
            End::Silent | End::Unconnected => 1008,
            End::TooBig => P::TOO_BIG,
        };
        self.link.finish(frames, end, code).await;
    }
}

async fn ready(outbound: Option<&Outbound>) {
    match outbound {
        Some(outbound) => outbound.ready().await,
        None => std::future::pending().await,
    }
}

async fn maintain(session: Option<&mut Session>) {
    match session {
        Some(session) => session.maintain().await,
        None => std::future::pending().await,
    }
}

/// Writes, but gives up when that hangs and the connection is to be closed meanwhile.
async fn unless_closing(
    session: Option<&mut Session>,
    write: impl Future<Output = Result<(), End>>,
) -> Result<(), End> {
    let closing = async move {
        loop {
            tokio::time::sleep(ABANDON_EVERY).await;
            if let Some(reason) = session.as_deref().and_then(Session::closing) {
                return Err(End::Session(reason));
            }
        }
    };
    tokio::select! {
        biased;
        written = write => written,
        end = closing => end,
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::PayloadTooLarge, "a frame has at most 64 KiB")
}
