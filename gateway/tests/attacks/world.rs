//! A messenger under attack, and two users of it who have nothing to do with that.

use std::{net::SocketAddr, time::Duration};

use messenger_testkit::{Api, TestClient, User, Wire};
use reqwest::{Method, Response, header};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle, time::interval};

use crate::server::{Server, Settings};

/// An exchange of the users beside: slow enough for the rates of production.
const EXCHANGE_EVERY: Duration = Duration::from_millis(150);
/// Exchanges after the attack.
const EXCHANGES_AFTER: u64 = 2;

/// The messenger.
pub struct World {
    pub server: Server,
    pub api: Api,
    beside: Beside,
}

impl World {
    /// Without rate limits.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// With the limits of production.
    pub async fn start_limited() -> Self {
        Self::start_with(Settings(Vec::new())).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let server = Server::start(settings.with("--allowed-origins=https://app.example.com")).await;
        let api = Api::new(server.url(""));
        let beside = Beside::start(&api, server.address).await;
        Self { server, api, beside }
    }

    pub async fn register(&self, name: &str) -> User {
        self.api.register(name).await.expect("registered")
    }

    pub async fn connect(&self, user: &User) -> TestClient {
        TestClient::connect(self.server.address, Wire::SocketIo, user).await.expect("connected")
    }

    /// A request to the API.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, self.server.url(&format!("/api/v1/{path}")))
    }

    /// POST of any bytes as JSON.
    pub async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        request.body(body).send().await.expect("an answer")
    }

    /// The users beside went on all the time, and still do: every message was acknowledged and heard, in order, once.
    pub async fn unharmed(self) {
        let _ = self.beside.stop.send(());
        self.beside.talking.await.expect("the users beside noticed something");
    }
}

/// Two users who talk.
struct Beside {
    stop: oneshot::Sender<()>,
    talking: JoinHandle<()>,
}

impl Beside {
    async fn start(api: &Api, edge: SocketAddr) -> Self {
        let (ann, bob) = (api.register("ann").await.expect("ann"), api.register("bob").await.expect("bob"));
        let speaker = TestClient::connect(edge, Wire::SocketIo, &ann).await.expect("ann connects");
        let hearer = TestClient::connect(edge, Wire::Plain, &bob).await.expect("bob connects");
        let (stop, stopped) = oneshot::channel();
        Self { stop, talking: tokio::spawn(talk(speaker, hearer, bob, stopped)) }
    }
}

async fn talk(mut speaker: TestClient, mut hearer: TestClient, bob: User, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = interval(EXCHANGE_EVERY);
    let (mut said, mut last) = (0, None);
    while last.is_none_or(|last| said < last) {
        ticks.tick().await;
        let draft = json!({ "receiverId": bob.id, "content": said.to_string() });
        let answer = speaker.request("send_message", draft).await.expect("answered");
        assert_eq!(answer["content"], said.to_string(), "{answer}");
        let heard = hearer.until("new_message").await.expect("heard");
        assert_eq!((&heard["content"], &heard["seq"]), (&answer["content"], &json!(said + 1)));
        said += 1;
        if last.is_none() && stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
            last = Some(said + EXCHANGES_AFTER);
        }
    }
}

/// Status and code of a refusal that is complete and gives nothing away.
pub async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    let body: Value = answer.json().await.expect("JSON");
    assert_quiet(&body);
    assert_ne!(status, 500, "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// Neither SQL nor a path nor a stack of ours.
pub fn assert_quiet(answer: &Value) {
    let text = answer.to_string().to_lowercase();
    for word in ["sqlite", "postgres", "sqlstate", "insert into", "/src/", ".rs:", "panicked", "stack"] {
        assert!(!text.contains(word), "{word} in {answer}");
    }
}

/// The beginning of an input, to name it by.
pub fn brief(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned()
}
