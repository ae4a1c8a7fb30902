//! A messenger to ask over HTTP.

use messenger_testkit::{Api, api::User};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;

use crate::server::{Server, Settings};

pub struct Messenger {
    pub api: Api,
    pub http: reqwest::Client,
    server: Server,
}

impl Messenger {
    /// Without rate limits.
    pub async fn start() -> Self {
        let server = Server::start(Settings::default()).await;
        Self { api: Api::new(server.url("")), http: reqwest::Client::new(), server }
    }

    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// GET outside the API.
    pub async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.expect("an answer")
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(&format!("/api/v1/{path}")))
    }

    pub async fn get_status(&self, user: Option<&User>, path: &str) -> StatusCode {
        let request = self.request(Method::GET, path);
        let request = user.into_iter().fold(request, |request, user| request.bearer_auth(&user.token));
        request.send().await.expect("an answer").status()
    }
}

/// Status and code of a problem that is complete.
pub async fn problem(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((&body["status"], &body["requestId"]), (&status.into(), &id.into()), "{body}");
    assert!(body["title"].is_string() && body["detail"].is_string() && body["type"].is_string(), "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// Whether nothing but the request's name tells two problems apart.
pub fn same_but_request_id(one: &Value, other: &Value) -> bool {
    let without = |problem: &Value| {
        let mut problem = problem.clone();
        problem["requestId"].take();
        problem
    };
    without(one) == without(other)
}
