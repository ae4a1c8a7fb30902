//! A messenger under attack, and two users of it who have nothing to do with that.

use messenger_testkit::{Api, Beside, TestClient, Tolerates, User, Wire};
use reqwest::{Method, Response, header};
use serde_json::Value;

use crate::server::{Server, Settings};

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
        let beside = Beside::start(server.address, Tolerates::Nothing).await.expect("they are let in");
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
        self.beside.unharmed().await.expect("unharmed");
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
