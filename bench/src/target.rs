//! A server under measurement: where it listens, which processes it is made of, and accounts on it.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

/// A server and its processes.
#[derive(Clone, Debug)]
pub struct Target {
    /// As printed.
    pub name: String,
    /// Base URL, `http://127.0.0.1:8080`.
    pub url: String,
    /// Roots of its process trees: their CPU and memory count.
    pub pids: Vec<u32>,
    /// Roots of the databases it uses: their CPU counts.
    pub databases: Vec<u32>,
    /// A command of the shell that stores messages without its help.
    pub fill: Option<String>,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, rest) = text.split_once('=').context("must be name=url[,pid…]")?;
        let mut parts = rest.split(',');
        let url = parts.next().unwrap_or_default().trim_end_matches('/').to_owned();
        let host = url.strip_prefix("http://").context("the URL must begin with http://")?;
        ensure!(host.starts_with("127.0.0.1:") || host.starts_with("localhost:"), "loopback addresses only");
        let pids = parts.map(str::parse).collect::<Result<_, _>>().context("a process id is a number")?;
        Ok(Self { name: name.to_owned(), url, pids, databases: Vec::new(), fill: None })
    }
}

/// An account made for the measurement.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's id.
    pub id: String,
    /// Its access token.
    pub token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    user: RegisteredUser,
    access_token: String,
}

#[derive(Deserialize)]
struct RegisteredUser {
    id: String,
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

/// Password hashing is no part of any workload, so few at a time are enough.
const REGISTRATIONS_AT_ONCE: usize = 4;
/// On a busy machine a server may hash fewer passwords than that, and say so.
const REGISTRATION_TRIES: u32 = 100;
const REGISTRATION_PAUSE: Duration = Duration::from_millis(200);

impl Target {
    /// `host:port`.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").replace("localhost", "127.0.0.1")
    }

    /// Registers `count` new users.
    pub async fn register(&self, count: usize) -> anyhow::Result<Vec<Account>> {
        static BATCH: AtomicU64 = AtomicU64::new(0);
        let batch = format!("{}-{}", std::process::id(), BATCH.fetch_add(1, Ordering::Relaxed));
        let http = reqwest::Client::new();
        stream::iter(0..count)
            .map(|n| self.register_one(&http, format!("bench-{batch}-{n}@example.com")))
            .buffered(REGISTRATIONS_AT_ONCE)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    async fn register_one(&self, http: &reqwest::Client, email: String) -> anyhow::Result<Account> {
        let body = json!({ "email": email, "password": "correct horse", "fullName": "Bench", "designation": "load" });
        for _ in 0..REGISTRATION_TRIES {
            let answer = http.post(format!("{}/api/v1/auth/register", self.url)).json(&body).send().await?;
            let status = answer.status();
            if status.is_success() {
                let registered: Registered = answer.json().await?;
                return Ok(Account { id: registered.user.id, token: registered.access_token });
            }
            if status != StatusCode::TOO_MANY_REQUESTS {
                bail!("{}: registering answered {status}: {}", self.name, answer.text().await?);
            }
            sleep(REGISTRATION_PAUSE).await;
        }
        bail!("{} has no room for registrations", self.name)
    }

    /// Makes an open group of `members`; the first is its ADMIN.
    pub async fn create_group(&self, members: &[Account]) -> anyhow::Result<String> {
        let others: Vec<&str> = members[1..].iter().map(|account| account.id.as_str()).collect();
        let body = json!({ "type": "GROUP", "name": "bench", "isRestricted": false, "memberIds": others });
        let request = reqwest::Client::new().post(format!("{}/api/v1/conversations", self.url));
        let answer = request.bearer_auth(&members[0].token).json(&body).send().await?;
        if !answer.status().is_success() {
            bail!("{}: making a group answered {}: {}", self.name, answer.status(), answer.text().await?);
        }
        Ok(answer.json::<Created>().await?.id)
    }
}
