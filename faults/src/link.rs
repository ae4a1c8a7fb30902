//! A connection of a client, on either wire.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use messenger_core::Cursor;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error as SocketError, Message, client::IntoClientRequest as _, http::HeaderValue},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Socket.IO over a websocket.
    SocketIo,
    /// Plain WebSocket.
    Plain,
}

/// What a client keeps to come back with.
#[derive(Clone, Debug, Default)]
pub struct ResumePoint {
    /// Given by Socket.IO.
    pub pid: Option<String>,
    /// Of the last durable event.
    pub cursor: Option<String>,
}

/// What a server sent.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The answer to a request.
    Answer(u64, Value),
    /// An event; durable when it has a cursor.
    Event { name: String, data: Value, cursor: Option<String> },
    /// Neither, and nothing to do.
    Nothing,
    /// To be answered by the transport.
    Ping,
}

/// The half that writes.
pub struct Writer {
    wire: Wire,
    sink: SplitSink<Socket, Message>,
}

/// The half that reads. [`Reader::next`] may be dropped and called again.
pub struct Reader {
    wire: Wire,
    stream: SplitStream<Socket>,
}

/// What connecting gave.
pub struct Link {
    pub writer: Writer,
    pub reader: Reader,
    /// Whether everything missed is being sent.
    pub recovered: bool,
    /// The new pid, on Socket.IO.
    pub pid: Option<String>,
    /// Where a plain connection begins.
    pub cursor: Option<String>,
}

/// A gateway that is there answers a handshake by itself. To open the session it asks others, and gives up after 5 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
const CONNECTED_WITHIN: Duration = Duration::from_secs(6);
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Connects and goes on from a resume point.
pub async fn connect(edge: SocketAddr, wire: Wire, token: &str, point: &ResumePoint) -> anyhow::Result<Link> {
    let opening = async {
        match wire {
            Wire::SocketIo => open_socket_io(edge, token, point).await,
            Wire::Plain => open_plain(edge, token, point).await,
        }
    };
    timeout(CONNECTED_WITHIN, opening).await.context("connecting took too long")?
}

async fn open_socket_io(edge: SocketAddr, token: &str, point: &ResumePoint) -> anyhow::Result<Link> {
    let shaking = async {
        let (socket, _) = connect_async(format!("ws://{edge}/socket.io/?EIO=4&transport=websocket")).await?;
        let (writer, mut reader) = halves(Wire::SocketIo, socket);
        ensure!(reader.text().await?.starts_with('0'), "expected an Engine.IO handshake");
        anyhow::Ok((writer, reader))
    };
    let (mut writer, mut reader) = timeout(ANSWERED_WITHIN, shaking).await.context("no answer to the handshake")??;
    let mut auth = json!({ "token": token });
    if let Some(pid) = &point.pid {
        auth["pid"] = pid.as_str().into();
        if let Some(cursor) = &point.cursor {
            auth["offset"] = cursor.as_str().into();
        }
    }
    writer.text(format!("40{auth}")).await?;
    let answer = reader.text().await?;
    let Some(connected) = answer.strip_prefix("40") else { bail!("refused: {answer}") };
    let connected: Value = serde_json::from_str(connected)?;
    let pid = connected["pid"].as_str().map(str::to_owned);
    let recovered = pid.is_some() && pid == point.pid;
    Ok(Link { writer, reader, recovered, pid, cursor: None })
}

async fn open_plain(edge: SocketAddr, token: &str, point: &ResumePoint) -> anyhow::Result<Link> {
    let query = point.cursor.as_ref().map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
    let mut request = format!("ws://{edge}/ws{query}").into_client_request()?;
    request.headers_mut().insert("authorization", HeaderValue::from_str(&format!("Bearer {token}"))?);
    let socket = match connect_async(request).await {
        Ok((socket, _)) => socket,
        Err(SocketError::Http(answer)) => {
            let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            bail!("refused: {} {body}", answer.status());
        }
        Err(error) => return Err(error.into()),
    };
    let (writer, mut reader) = halves(Wire::Plain, socket);
    let first: Value = serde_json::from_str(&reader.text().await?)?;
    ensure!(first["event"] == "connected", "expected connected: {first}");
    let cursor = first["data"]["cursor"].as_str().map(str::to_owned);
    Ok(Link { writer, reader, recovered: !query.is_empty(), pid: None, cursor })
}

fn halves(wire: Wire, socket: Socket) -> (Writer, Reader) {
    let (sink, stream) = socket.split();
    (Writer { wire, sink }, Reader { wire, stream })
}

impl Writer {
    /// Asks for something; the answer has this id.
    pub async fn ask(&mut self, id: u64, event: &str, data: &Value) -> anyhow::Result<()> {
        self.text(match self.wire {
            Wire::SocketIo => format!("42{id}{}", json!([event, data])),
            Wire::Plain => json!({ "event": event, "data": data, "id": id.to_string() }).to_string(),
        })
        .await
    }

    /// Answers a ping.
    pub async fn pong(&mut self) -> anyhow::Result<()> {
        self.text("3".to_owned()).await
    }

    async fn text(&mut self, text: String) -> anyhow::Result<()> {
        timeout(WRITTEN_WITHIN, self.sink.send(Message::text(text))).await.context("the server does not read")??;
        Ok(())
    }
}

impl Reader {
    /// The next frame. Cancel-safe.
    pub async fn next(&mut self) -> anyhow::Result<Frame> {
        let text = self.text().await?;
        match self.wire {
            Wire::SocketIo => read_packet(&text),
            Wire::Plain => read_frame(&text),
        }
    }

    async fn text(&mut self) -> anyhow::Result<String> {
        loop {
            match self.stream.next().await.context("the server closed the connection")?? {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("the server closed the connection: {frame:?}"),
                _ => {}
            }
        }
    }
}

fn read_packet(text: &str) -> anyhow::Result<Frame> {
    if text == "2" {
        return Ok(Frame::Ping);
    }
    if text.starts_with("40") || text == "41" {
        return Ok(Frame::Nothing);
    }
    if let Some(ack) = text.strip_prefix("43") {
        let begin = ack.find('[').context("an ack has arguments")?;
        let [value]: [Value; 1] = serde_json::from_str(&ack[begin..])?;
        return Ok(Frame::Answer(ack[..begin].parse()?, value));
    }
    let event = text.strip_prefix("42").with_context(|| format!("unexpected packet {text}"))?;
    let mut arguments: Vec<Value> = serde_json::from_str(event)?;
    ensure!((2..=3).contains(&arguments.len()) && arguments[1].is_object(), "a strange event: {text}");
    let cursor = arguments.get(2).map(|cursor| cursor.as_str().map(str::to_owned).context("a cursor is text"));
    let (cursor, name) = (cursor.transpose()?, arguments[0].as_str().context("an event has a name")?.to_owned());
    Ok(Frame::Event { name, data: arguments.swap_remove(1), cursor })
}

fn read_frame(text: &str) -> anyhow::Result<Frame> {
    let mut frame: Value = serde_json::from_str(text)?;
    let name = frame["event"].as_str().context("a frame has an event")?.to_owned();
    let data = frame["data"].take();
    match frame["id"].as_str() {
        // Alike on both wires: an error stands under `error`.
        Some(id) if name == "error" => Ok(Frame::Answer(id.parse()?, json!({ "error": data }))),
        Some(id) => Ok(Frame::Answer(id.parse()?, data)),
        None => Ok(Frame::Event { name, data, cursor: frame["cursor"].as_str().map(str::to_owned) }),
    }
}

/// The position a cursor stands for.
pub fn position(cursor: &str) -> anyhow::Result<i64> {
    Ok(Cursor::decode(cursor)?.position.0)
}
