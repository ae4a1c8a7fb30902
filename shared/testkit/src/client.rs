//! One client for both transports, strict about what the server sends.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error as SocketError, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use crate::{User, privacy};

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Socket.IO over a websocket.
    SocketIo,
    /// Plain WebSocket.
    Plain,
}

/// What the server sent by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its object.
    pub data: Value,
    /// Where it stands in the journal, when it is durable.
    pub cursor: Option<String>,
}

/// Where a client was, to continue from.
#[derive(Clone, Debug, Default)]
pub struct ResumePoint {
    pid: Option<String>,
    cursor: Option<String>,
}

/// A connection.
pub struct TestClient {
    wire: Wire,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: VecDeque<Event>,
    answers: VecDeque<(u64, Value)>,
    last_id: u64,
    resume_point: ResumePoint,
    recovered: bool,
    greeting: Value,
}

/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(60);

impl TestClient {
    /// Connects as this user; fails when it is refused (the error holds the code).
    ///
    /// # Errors
    /// When it is refused or takes too long.
    pub async fn connect(edge: SocketAddr, wire: Wire, user: &User) -> anyhow::Result<Self> {
        Self::resume(edge, wire, user, ResumePoint::default()).await
    }

    /// Connects and continues from a resume point.
    ///
    /// # Errors
    /// When it is refused or takes too long.
    pub async fn resume(edge: SocketAddr, wire: Wire, user: &User, resume_point: ResumePoint) -> anyhow::Result<Self> {
        let opening = async {
            match wire {
                Wire::SocketIo => Self::open_socket_io(edge, &user.token, resume_point).await,
                Wire::Plain => Self::open_plain(edge, &user.token, resume_point).await,
            }
        };
        tokio::time::timeout(LIMIT, opening).await.context("connecting took too long")?
    }

    async fn open_socket_io(edge: SocketAddr, token: &str, resume_point: ResumePoint) -> anyhow::Result<Self> {
        let (socket, _) = connect_async(format!("ws://{edge}/socket.io/?EIO=4&transport=websocket")).await?;
        let mut client = Self::new(Wire::SocketIo, socket);
        let open = client.text().await?;
        ensure!(open.starts_with('0'), "expected an Engine.IO handshake: {open}");
        let mut auth = json!({ "token": token });
        if let Some(pid) = &resume_point.pid {
            auth["pid"] = pid.as_str().into();
            if let Some(offset) = &resume_point.cursor {
                auth["offset"] = offset.as_str().into();
            }
        }
        client.send(format!("40{auth}")).await?;
        let answer = client.text().await?;
        let Some(connected) = answer.strip_prefix("40") else { bail!("refused: {answer}") };
        let connected: Value = serde_json::from_str(connected)?;
        let pid = connected["pid"].as_str().map(str::to_owned);
        client.greeting = connected;
        client.recovered = pid.is_some() && pid == resume_point.pid;
        client.resume_point = ResumePoint { pid, cursor: if client.recovered { resume_point.cursor } else { None } };
        Ok(client)
    }

    async fn open_plain(edge: SocketAddr, token: &str, resume_point: ResumePoint) -> anyhow::Result<Self> {
        let query = resume_point.cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
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
        let mut client = Self::new(Wire::Plain, socket);
        let first: Value = serde_json::from_str(&client.text().await?)?;
        ensure!(first["event"] == "connected", "expected connected: {first}");
        client.greeting = first["data"].clone();
        client.recovered = !query.is_empty();
        client.resume_point.cursor = first["data"]["cursor"].as_str().map(str::to_owned);
        Ok(client)
    }

    fn new(wire: Wire, socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        let (events, answers) = (VecDeque::new(), VecDeque::new());
        let (resume_point, greeting) = (ResumePoint::default(), Value::Null);
        Self { wire, socket, events, answers, last_id: 0, resume_point, recovered: false, greeting }
    }

    /// Whether the server said that everything missed is replayed.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// What the server said first: the answer to CONNECT, or the object of `connected`.
    #[must_use]
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// The last cursor it saw.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.resume_point.cursor.as_deref()
    }

    /// Where it is: what a later connection continues from.
    #[must_use]
    pub fn resume_point(&self) -> ResumePoint {
        self.resume_point.clone()
    }

    /// Emits an event and asks for no answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn emit(&mut self, event: &str, data: Value) -> anyhow::Result<()> {
        privacy::remember(&data);
        match self.wire {
            Wire::SocketIo => self.send(format!("42{}", json!([event, data]))).await,
            Wire::Plain => self.send(json!({ "event": event, "data": data }).to_string()).await,
        }
    }

    /// Emits an event and asks for an answer; gives the id it will have.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ask(&mut self, event: &str, data: Value) -> anyhow::Result<u64> {
        privacy::remember(&data);
        self.last_id += 1;
        let id = self.last_id;
        match self.wire {
            Wire::SocketIo => self.send(format!("42{id}{}", json!([event, data]))).await?,
            Wire::Plain => self.send(json!({ "event": event, "data": data, "id": id.to_string() }).to_string()).await?,
        }
        Ok(id)
    }

    /// The next answer, whichever it is for.
    ///
    /// # Errors
    /// When none comes.
    pub async fn answer(&mut self) -> anyhow::Result<(u64, Value)> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.read().await.context("waiting for an answer")?;
        }
    }

    /// Emits an event and waits for its answer; events that come before it are kept.
    ///
    /// # Errors
    /// When none comes, or one for something else.
    pub async fn request(&mut self, event: &str, data: Value) -> anyhow::Result<Value> {
        let asked = self.ask(event, data).await?;
        let (id, answer) = self.answer().await?;
        ensure!(id == asked, "answer {id} instead of {asked}: {answer}");
        Ok(answer)
    }

    /// The next event.
    ///
    /// # Errors
    /// When none comes.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.read().await.context("waiting for an event")?;
        }
    }

    /// The next event, which must have this name; gives its object.
    ///
    /// # Errors
    /// When another comes, or none.
    pub async fn expect(&mut self, name: &str) -> anyhow::Result<Value> {
        let event = self.next().await.with_context(|| format!("expected {name}"))?;
        ensure!(event.name == name, "expected {name}, got {event:?}");
        Ok(event.data)
    }

    /// Events until one with this name; gives its object.
    ///
    /// # Errors
    /// When none comes.
    pub async fn until(&mut self, name: &str) -> anyhow::Result<Value> {
        loop {
            let event = self.next().await.with_context(|| format!("waiting for {name}"))?;
            if event.name == name {
                return Ok(event.data);
            }
        }
    }

    /// Reads until the server closes; gives the close code (1006 when there was none).
    ///
    /// # Errors
    /// When it stays open.
    pub async fn closed(&mut self) -> anyhow::Result<u16> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.socket.next()).await.context("still open")?;
            match message {
                Some(Ok(Message::Close(frame))) => return Ok(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(Message::Text(text))) => self.take(&text)?,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(1006),
            }
        }
    }

    /// Sends a text as it is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let text = self.text().await?;
        self.take(&text)?;
        if text == "2" {
            self.send("3".to_owned()).await?;
        }
        Ok(())
    }

    async fn text(&mut self) -> anyhow::Result<String> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.socket.next()).await.context("nothing came for 60 s")?;
            match message.context("the server closed the connection")?? {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("the server closed the connection: {frame:?}"),
                _ => {}
            }
        }
    }

    fn take(&mut self, text: &str) -> anyhow::Result<()> {
        match self.wire {
            Wire::SocketIo => self.take_packet(text),
            Wire::Plain => self.take_frame(text),
        }
    }

    fn take_packet(&mut self, text: &str) -> anyhow::Result<()> {
        if text == "2" || text.starts_with("40") || text == "41" {
            return Ok(());
        }
        if let Some(ack) = text.strip_prefix("43") {
            let begin = ack.find('[').context("an ack has arguments")?;
            let arguments: Vec<Value> = serde_json::from_str(&ack[begin..])?;
            ensure!(arguments.len() == 1, "an ack has one argument: {text}");
            self.answers.extend(arguments.into_iter().map(|value| (ack[..begin].parse().unwrap_or(0), value)));
            return Ok(());
        }
        let event = text.strip_prefix("42").with_context(|| format!("unexpected packet {text}"))?;
        let arguments: Vec<Value> = serde_json::from_str(event)?;
        let (name, data) = (arguments[0].as_str().context("an event has a name")?, arguments[1].clone());
        ensure!(data.is_object() && arguments.len() <= 3, "an event has an object and at most a cursor: {text}");
        let cursor = arguments.get(2).map(|cursor| cursor.as_str().context("a cursor is text")).transpose()?;
        self.push(name, data, cursor);
        Ok(())
    }

    fn take_frame(&mut self, text: &str) -> anyhow::Result<()> {
        let frame: Value = serde_json::from_str(text)?;
        let (name, data) = (frame["event"].as_str().context("a frame has an event")?, frame["data"].clone());
        match frame["id"].as_str() {
            // Seen alike on both transports: an error stands under `error`.
            Some(id) if name == "error" => self.answers.push_back((id.parse()?, json!({ "error": data }))),
            Some(id) => self.answers.push_back((id.parse()?, data)),
            None => self.push(name, data, frame["cursor"].as_str()),
        }
        Ok(())
    }

    fn push(&mut self, name: &str, data: Value, cursor: Option<&str>) {
        if let Some(cursor) = cursor {
            self.resume_point.cursor = Some(cursor.to_owned());
        }
        self.events.push_back(Event { name: name.to_owned(), data, cursor: cursor.map(str::to_owned) });
    }
}
