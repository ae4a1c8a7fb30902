//! Clients as thin as they can be: every text is the test's own.

use std::{fmt::Write as _, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::Response, protocol::CloseFrame},
};

use crate::server::Server;

/// Nothing a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

/// A WebSocket client.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(server: &Server, path: &str) -> Self {
        Self::try_open(server, path, &[]).await.expect("the handshake is accepted")
    }

    pub async fn try_open(
        server: &Server,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Response<Option<Vec<u8>>>> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().expect("a header"));
        }
        match in_time(connect_async(request)).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(response)) => Err(*response),
            Err(error) => panic!("{error}"),
        }
    }

    /// An open Engine.IO websocket, its handshake read.
    pub async fn engine(server: &Server) -> Self {
        let mut socket = Self::open(server, "/socket.io/?EIO=4&transport=websocket").await;
        assert!(socket.text().await.starts_with('0'));
        socket
    }

    /// A connected Socket.IO websocket.
    pub async fn connected(server: &Server, token: &str) -> Self {
        let mut socket = Self::engine(server).await;
        socket.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
        assert!(socket.text().await.starts_with(r#"40{"#));
        socket
    }

    pub async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends as much of a message as the server takes.
    pub async fn try_send(&mut self, message: impl Into<Message>) {
        let _ = in_time(self.0.send(message.into())).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        in_time(self.0.send(message)).await.expect("the socket is open");
    }

    /// The next text, Engine.IO pings included.
    pub async fn text(&mut self) -> String {
        self.text_or_close().await.expect("a text")
    }

    /// The next text; none when the server closes instead.
    pub async fn text_or_close(&mut self) -> Option<String> {
        self.text_or_close_code().await.ok()
    }

    /// The next text, or the code the server closes with instead.
    pub async fn text_or_close_code(&mut self) -> Result<String, Option<u16>> {
        loop {
            match in_time(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next JSON frame.
    pub async fn frame(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("JSON")
    }

    /// The next pong's body.
    pub async fn pong(&mut self) -> Vec<u8> {
        loop {
            if let Some(Ok(Message::Pong(body))) = in_time(self.0.next()).await {
                return body.to_vec();
            }
        }
    }

    /// How the server closes; texts before that are skipped. None: the connection just ended.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match in_time(self.0.next()).await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The code the server closes with.
    pub async fn close_code(&mut self) -> u16 {
        self.closed().await.expect("a close frame").code.into()
    }
}

/// An Engine.IO session over long polling.
pub struct Polling {
    url: String,
    http: reqwest::Client,
}

impl Polling {
    pub async fn open(server: &Server) -> Self {
        let (url, http) = (server.url("/socket.io/?EIO=4&transport=polling"), reqwest::Client::new());
        let (status, body) = Self { url: url.clone(), http: http.clone() }.poll().await;
        assert_eq!((status, &body[..1]), (StatusCode::OK, "0"));
        let open: Value = serde_json::from_str(&body[1..]).expect("JSON");
        Self { url: format!("{url}&sid={}", open["sid"].as_str().expect("a text")), http }
    }

    pub fn sid(&self) -> &str {
        self.url.split_once("&sid=").expect("an open session").1
    }

    /// The path of a websocket that wants to take over.
    pub fn upgrade_path(&self) -> String {
        format!("/socket.io/?EIO=4&transport=websocket&sid={}", self.sid())
    }

    pub async fn poll(&self) -> (StatusCode, String) {
        Self::answer(self.http.get(&self.url)).await
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
        Self::answer(self.http.post(&self.url).body(body)).await
    }

    async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, String) {
        let response = in_time(request.send()).await.expect("an answer");
        (response.status(), in_time(response.text()).await.expect("a text"))
    }
}

/// Sends bytes over TCP and reads until the server closes.
pub async fn raw(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(request).await.expect("the server reads");
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = in_time(stream.read_to_end(&mut answer)).await;
    answer
}

/// A handshake, and these bytes after it.
pub fn session(token: &str, bytes: &[u8]) -> Vec<u8> {
    let mut head = String::from("GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    head.push_str("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    write!(head, "Authorization: Bearer {token}\r\n\r\n").expect("a String takes everything");
    [head.as_bytes(), bytes].concat()
}

/// The code of the close frame at the end of what the server said.
pub fn close_code(answer: &[u8]) -> Option<u16> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let mut frames = &answer[head..];
    loop {
        let (opcode, length) = (frames.first()? & 0x0f, usize::from(*frames.get(1)?));
        let (start, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes([*frames.get(2)?, *frames.get(3)?]))),
            length => (2, length),
        };
        let body = frames.get(start..start + length)?;
        if opcode == 8 {
            return Some(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        }
        frames = &frames[start + length..];
    }
}
