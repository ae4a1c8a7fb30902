//! What carries a connection's texts: a WebSocket, or HTTP long polling until it is upgraded to one.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    End,
    socket::Socket,
    socketio::{
        polling::{Farewell, Polling},
        posts::Posts,
    },
};
use crate::session::CloseReason;

/// How long a client has to take the last frames …
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// … and one that may hear nothing more: what the system took of it already is all it gets.
const FINISH_AT_ONCE_WITHIN: Duration = Duration::from_millis(500);
/// Frames written with one flush.
const FRAMES_PER_FLUSH_MAX: usize = 128;

/// What came over a link.
pub enum Received {
    /// A text.
    Text(Utf8Bytes),
    /// A binary message, which no protocol of ours has.
    Binary,
    /// A WebSocket ping; the next read answers it.
    Ping,
    /// The answer to a WebSocket ping.
    Pong,
    /// A poll that can be answered.
    Poll,
    /// The WebSocket that takes over from polling.
    Upgraded(Box<Socket>),
    /// Nothing more will come.
    Ended(End),
}

/// One of the two.
pub enum Link {
    /// A WebSocket, and what was posted before it took over.
    Socket(Box<Socket>, Posts),
    /// Long polling.
    Polling(Box<Polling>),
}

impl Link {
    /// The next thing from the client; a text only while it `accepts` one. Dropping it midway loses nothing.
    pub async fn receive(&mut self, accepts: bool) -> Received {
        match self {
            Self::Socket(socket, posts) if accepts => match posts.next() {
                Some(text) => Received::Text(text),
                None => socket.receive().await,
            },
            Self::Socket(..) => std::future::pending().await,
            Self::Polling(polling) => polling.receive(accepts).await,
        }
    }

    /// How many frames it takes now.
    pub fn room(&self) -> usize {
        match self {
            Self::Socket(..) => FRAMES_PER_FLUSH_MAX,
            Self::Polling(polling) => polling.room(),
        }
    }

    /// A WebSocket from the first.
    pub fn socket(socket: Socket) -> Self {
        Self::Socket(Box::new(socket), Posts::default())
    }

    /// Writes frames, at most as many as there is room for.
    pub async fn send(&mut self, frames: impl IntoIterator<Item = Bytes>) -> Result<(), End> {
        match self {
            Self::Socket(socket, _) => socket.send(frames).await,
            Self::Polling(polling) => polling.send(frames),
        }
    }

    /// Writes a text of the protocol itself, now or as soon as the client polls.
    pub async fn say(&mut self, text: Bytes) -> Result<(), End> {
        match self {
            Self::Socket(socket, _) => socket.send([text]).await,
            Self::Polling(polling) => polling.say(text),
        }
    }

    /// Asks for a sign of life below the protocol: a WebSocket ping.
    pub async fn ping(&mut self) -> Result<(), End> {
        match self {
            Self::Socket(socket, _) => socket.ping().await,
            Self::Polling(_) => Ok(()),
        }
    }

    /// The client has shown who it is: it may send more.
    pub fn connected(&mut self) {
        match self {
            Self::Socket(socket, _) => socket.connected(),
            Self::Polling(polling) => polling.connected(),
        }
    }

    /// The WebSocket takes over; what was said and not yet polled goes first, and so does what was posted and not read.
    pub async fn upgrade(&mut self, mut socket: Box<Socket>) -> Result<(), End> {
        let Self::Polling(polling) = self else { return Ok(()) };
        if polling.has_connected() {
            socket.connected();
        }
        let (unsaid, unread) = polling.take_over();
        socket.send(unsaid).await?;
        *self = Self::Socket(socket, unread);
        Ok(())
    }

    /// Writes the last frames and closes.
    pub async fn finish(self, frames: Vec<Bytes>, end: End, code: u16) {
        let within = match end {
            End::Session(reason) if reason.is_at_once() => FINISH_AT_ONCE_WITHIN,
            // A server that drains takes no further polls.
            End::Session(CloseReason::Draining) if matches!(self, Self::Polling(_)) => Duration::ZERO,
            _ => FINISH_WITHIN,
        };
        match self {
            _ if matches!(end, End::Gone | End::Stalled) => {}
            Self::Socket(mut socket, _) => {
                if let Ok(Ok(())) = timeout(within, socket.send(frames)).await {
                    socket.close(code, end.as_str()).await;
                }
            }
            Self::Polling(polling) => {
                let farewell = if end == End::Left { Farewell::Noop } else { Farewell::Close };
                polling.finish(frames, farewell, within).await;
            }
        }
    }
}
