//! The REST interface as a test uses it.

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::privacy;

/// A registered user with its tokens.
#[derive(Clone, Debug)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The address it registered with.
    pub email: String,
    /// Its access token.
    pub token: String,
    /// Its refresh token.
    pub refresh_token: String,
}

/// The password of every registered test user.
pub const PASSWORD: &str = "correct horse battery";

/// Calls REST at one edge.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    http: reqwest::Client,
}

impl Api {
    /// Calls at this base URL.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { url, http: reqwest::Client::new() }
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls `/api/v1/{path}`; gives status and JSON body (null when there is none).
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}/api/v1/{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            privacy::remember(&body);
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn succeed(&self, method: Method, path: &str, user: &User, body: Option<Value>) -> anyhow::Result<Value> {
        let (status, value) = self.call(method, path, Some(&user.token), body).await?;
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {value}");
        Ok(value)
    }

    /// GET as this user; fails unless it succeeds.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn get(&self, user: &User, path: &str) -> anyhow::Result<Value> {
        self.succeed(Method::GET, path, user, None).await
    }

    /// POST as this user; fails unless it succeeds.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn post(&self, user: &User, path: &str, body: Value) -> anyhow::Result<Value> {
        self.succeed(Method::POST, path, user, Some(body)).await
    }

    /// PATCH as this user; fails unless it succeeds.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch(&self, user: &User, path: &str, body: Value) -> anyhow::Result<Value> {
        self.succeed(Method::PATCH, path, user, Some(body)).await
    }

    /// DELETE as this user; fails unless it succeeds.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete(&self, user: &User, path: &str) -> anyhow::Result<Value> {
        self.succeed(Method::DELETE, path, user, None).await
    }

    /// Registers a user with a name nobody has.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn register(&self, name: &str) -> anyhow::Result<User> {
        let email = format!("{name}-{}@example.com", Uuid::new_v4().simple());
        let body = json!({ "email": email, "password": PASSWORD, "fullName": name, "designation": "Tester" });
        let (status, value) = self.call(Method::POST, "auth/register", None, Some(body)).await?;
        anyhow::ensure!(status == StatusCode::CREATED, "registering answered {status}: {value}");
        user_of(&value, email)
    }

    /// Makes a group; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn group(&self, admin: &User, restricted: bool, members: &[&User]) -> anyhow::Result<String> {
        let members: Vec<&str> = members.iter().map(|user| user.id.as_str()).collect();
        let body = json!({ "type": "GROUP", "name": "A group", "isRestricted": restricted, "memberIds": members });
        let group = self.post(admin, "conversations", body).await?;
        Ok(group["id"].as_str().context("a group has an id")?.to_owned())
    }
}

fn user_of(value: &Value, email: String) -> anyhow::Result<User> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("missing in the answer");
    Ok(User {
        id: text(&value["user"]["id"])?,
        email,
        token: text(&value["accessToken"])?,
        refresh_token: text(&value["refreshToken"])?,
    })
}
