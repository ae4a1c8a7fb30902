//! One WebSocket: its handshake, texts in, texts out, and a close the peer gets to read.

use std::{io, time::Duration};

use axum::response::{IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::ProtocolError,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::{End, allowance::Allowance, link::Received};

/// Bytes read at once, and kept by an idle connection.
const READ_BYTES: usize = 2 * 1024;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 4 * 1024;
/// Bytes in a message, above which the connection is cut.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes a peer may send in all before it has shown who it is.
const STRANGER_BYTES_MAX: usize = 96 * 1024;
/// How long one frame may wait for the peer to read.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the peer has to answer a close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A request to open a WebSocket that fulfils RFC 6455.
pub struct Handshake {
    upgrade: OnUpgrade,
    accept: HeaderValue,
}

impl Handshake {
    /// Checks the request; an answer instead when it is none.
    pub fn of(parts: &mut Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        let is_upgrade = has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket")
            && parts.method == Method::GET;
        if !is_upgrade {
            return Err(Refusal::NotWebSocket);
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Refusal::Version);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_nonce(key)).ok_or(Refusal::NotWebSocket)?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a header value");
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::NotWebSocket)?;
        Ok(Self { upgrade, accept })
    }

    /// The answer that opens the WebSocket.
    pub fn response(&self, protocol: Option<&'static str>) -> Response {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }

    /// The open WebSocket, once the answer is written; none if the client went before.
    pub async fn socket(self) -> Option<Socket> {
        let upgraded = self.upgrade.await.ok()?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let stream = Allowance::new(TokioIo::new(upgraded), STRANGER_BYTES_MAX);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Some(Socket { stream })
    }
}

/// Why a request does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not ask for one, or not as RFC 6455 has it.
    NotWebSocket,
    /// It speaks another version than 13.
    Version,
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn is_nonce(key: &HeaderValue) -> bool {
    BASE64_STANDARD.decode(key.as_bytes()).is_ok_and(|nonce| nonce.len() == 16)
}

/// An open WebSocket.
pub struct Socket {
    stream: WebSocketStream<Allowance<TokioIo<Upgraded>>>,
}

impl Socket {
    /// The peer has shown who it is: from here on it may send as much as it likes.
    pub fn connected(&mut self) {
        self.stream.get_mut().lift();
    }

    /// The next thing the peer sends; dropping it midway loses nothing.
    pub async fn receive(&mut self) -> Received {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Received::Text(text),
                Some(Ok(Message::Binary(_))) => return Received::Binary,
                Some(Ok(Message::Pong(_))) => return Received::Pong,
                Some(Ok(Message::Ping(_))) => return Received::Ping,
                // The next read writes the answer to a close.
                Some(Ok(Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Received::Ended(end(&error)),
                None => return Received::Ended(End::Gone),
            }
        }
    }

    /// Writes texts and flushes once. Each has [`WRITE_DEADLINE`] to be taken.
    pub async fn send(&mut self, texts: impl IntoIterator<Item = Bytes>) -> Result<(), End> {
        for text in texts {
            let text = Utf8Bytes::try_from(text).expect("frames are text");
            within_deadline(self.stream.feed(Message::Text(text))).await?;
        }
        within_deadline(self.stream.flush()).await
    }

    /// Asks the peer for a sign of life.
    pub async fn ping(&mut self) -> Result<(), End> {
        within_deadline(self.stream.send(Message::Ping(Bytes::new()))).await
    }

    /// Says why, then waits a moment for the peer to go: closing at once could destroy what it has not read yet.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
        let goodbye = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
                let _ = self.stream.get_mut().shutdown().await;
                let _ = discard(self.stream.get_mut()).await;
            }
        };
        let _ = timeout(CLOSE_DEADLINE, goodbye).await;
    }
}

async fn within_deadline(write: impl Future<Output = Result<(), Error>>) -> Result<(), End> {
    match timeout(WRITE_DEADLINE, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Error::Io(error))) if error.kind() == io::ErrorKind::TimedOut => Err(End::Stalled),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Stalled),
    }
}

async fn discard(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn end(error: &Error) -> End {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Protocol,
        Error::Utf8(_) => End::NotText,
        Error::Capacity(_) => End::TooBig,
        Error::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => End::TooBig,
        _ => End::Gone,
    }
}
