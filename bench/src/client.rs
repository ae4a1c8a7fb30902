//! The smallest Socket.IO client that can measure: websocket only, text searched rather than parsed.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use crate::target::{Account, Target};

/// A connection on the namespace "/".
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

/// What a server sent.
pub enum Packet {
    /// `43<id>[…]`.
    Ack(Utf8Bytes),
    /// `42[…]`.
    Event(Utf8Bytes),
}

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

impl Client {
    /// Opens the websocket and the namespace.
    pub async fn connect(target: &Target, account: &Account) -> anyhow::Result<Self> {
        tokio::time::timeout(CONNECT_LIMIT, Self::open(target, account)).await.context("connecting took over 10 s")?
    }

    async fn open(target: &Target, account: &Account) -> anyhow::Result<Self> {
        let host = target.address();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let request = format!("ws://{host}/socket.io/?EIO=4&transport=websocket").into_client_request()?;
        let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(4 * 1024);
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        let mut client = Self { socket };
        let open = client.text().await?;
        if !open.starts_with('0') {
            bail!("expected an Engine.IO handshake, got {open}");
        }
        let connect = format!("40{}", json!({ "token": account.token }));
        client.socket.send(Message::text(connect)).await?;
        let answer = client.text().await?;
        if !answer.starts_with("40") {
            bail!("expected CONNECT, got {answer}");
        }
        Ok(client)
    }

    async fn text(&mut self) -> anyhow::Result<Utf8Bytes> {
        loop {
            match self.socket.next().await.context("the server closed the connection")?? {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("the server closed the connection: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Queues a packet; [`Client::flush`] sends it.
    pub async fn feed(&mut self, packet: String) -> anyhow::Result<()> {
        let text = Utf8Bytes::try_from(Bytes::from(packet.into_bytes()))?;
        Ok(self.socket.feed(Message::Text(text)).await?)
    }

    /// Sends what was queued.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.socket.flush().await?)
    }

    /// The next event or ack; pings are answered on the way. Cancel-safe.
    pub async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            let text = self.text().await?;
            match text.as_bytes() {
                b"2" => self.socket.send(Message::text("3")).await?,
                [b'4', b'3', ..] => return Ok(Packet::Ack(text)),
                [b'4', b'2', ..] => return Ok(Packet::Event(text)),
                _ => bail!("unexpected packet {text}"),
            }
        }
    }
}

/// Makes a send with an ack id. The content is `marker` filled up to `size` bytes.
pub fn send_packet(ack: u64, target: (&str, &str), marker: &str, size: usize) -> String {
    let (key, id) = target;
    let fill = size.saturating_sub(marker.len());
    format!("42{ack}[\"send_message\",{{\"{key}\":\"{id}\",\"content\":\"{marker}{:x<fill$}\"}}]", "")
}

/// Finds `@sequence:micros@`, the marker a sender put at the beginning of the content.
pub fn read_marker(text: &str) -> Option<(u64, u64)> {
    let begin = text.find("\"content\":\"@")? + 12;
    let rest = &text[begin..];
    let (sequence, rest) = rest.split_once(':')?;
    let (micros, _) = rest.split_once('@')?;
    Some((sequence.parse().ok()?, micros.parse().ok()?))
}
