//! The admin of a group whose writers never stop: it removes, adds again, promotes, demotes, restricts and opens, and
//! logs when it asks and when it is answered.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use messenger_testkit::{Api, User};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    board::{Board, Phase},
    client::log_in,
    log::{Change, Line, Log},
    random::Random,
};

/// A participant as the admin left it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its number as a client.
    pub client: usize,
    /// Its user's id.
    pub user: String,
    is_there: bool,
    is_admin: bool,
}

impl Member {
    /// As the group begins.
    pub const fn new(client: usize, user: String) -> Self {
        Self { client, user, is_there: true, is_admin: false }
    }
}

/// The admin.
pub struct Admin {
    pub user: User,
    pub group: String,
    pub members: Vec<Member>,
    pub edges: Vec<SocketAddr>,
    pub random: Random,
    /// Of the group: nobody else changes it. Every change is asked for with it, so that none is made late.
    pub version: i64,
}

/// Then it asks again, elsewhere.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
const RETRY_AFTER: Duration = Duration::from_millis(200);

impl Admin {
    /// Changes rights while others write.
    pub async fn run(mut self, board: Arc<Board>, folder: &Path, number: usize) -> anyhow::Result<()> {
        let mut log = Log::create(folder, number)?;
        let mut is_restricted = false;
        while *board.phase.borrow() <= Phase::Writing {
            sleep(Duration::from_millis(50 + self.random.below(400))).await;
            if *board.phase.borrow() != Phase::Writing {
                continue;
            }
            let at = self.random.below(self.members.len() as u64) as usize;
            let member = &mut self.members[at];
            let change = match self.random.below(4) {
                0 => {
                    is_restricted = !is_restricted;
                    if is_restricted { Change::Restrict } else { Change::Open }
                }
                1 if member.is_there => {
                    member.is_admin = !member.is_admin;
                    if member.is_admin { Change::Promote } else { Change::Demote }
                }
                _ => {
                    (member.is_there, member.is_admin) = (!member.is_there, false);
                    if member.is_there { Change::Add } else { Change::Remove }
                }
            };
            self.make(change, at, &mut log, &board).await?;
        }
        Ok(())
    }

    /// Asks until it is answered with success, or an attempt without an answer turns out to have been made.
    async fn make(&mut self, change: Change, at: usize, log: &mut Log, board: &Board) -> anyhow::Result<()> {
        let client = self.members[at].client;
        log.write(&Line::Ask { change, client })?;
        let mut gateway = self.random.below(self.edges.len() as u64) as usize;
        let mut is_doubtful = false;
        loop {
            match self.ask(change, &self.members[at].user, self.edges[gateway]).await {
                Ok((status, _)) if status.is_success() => break,
                Ok((_, problem)) if is_doubtful && problem["code"] == "VERSION_CONFLICT" => break,
                Ok((StatusCode::TOO_MANY_REQUESTS, _)) => {}
                Ok((StatusCode::UNAUTHORIZED, _)) => {
                    // Its token has had its time.
                    if let Ok(token) = log_in(self.edges[gateway], &self.user).await {
                        self.user.token = token;
                    }
                }
                Ok((status, answer)) if !status.is_server_error() => {
                    board.wrong(format!("{change:?} of {client} was answered {status} {answer}"));
                    break;
                }
                _ => is_doubtful = true,
            }
            gateway = (gateway + 1) % self.edges.len();
            sleep(RETRY_AFTER).await;
        }
        self.version += 1;
        board.changes.fetch_add(1, Ordering::Relaxed);
        log.write(&Line::Done { change, client })
    }

    async fn ask(&self, change: Change, user: &str, edge: SocketAddr) -> anyhow::Result<(StatusCode, Value)> {
        let group = format!("conversations/{}", self.group);
        let participants = format!("{group}/participants");
        let participant = format!("{participants}/{user}");
        let (method, path, body) = match change {
            Change::Remove => (Method::DELETE, participant, None),
            Change::Add => (Method::POST, participants, Some(json!({ "userIds": [user] }))),
            Change::Promote => (Method::PATCH, participant, Some(json!({ "role": "ADMIN" }))),
            Change::Demote => (Method::PATCH, participant, Some(json!({ "role": "MEMBER" }))),
            Change::Restrict => (Method::PATCH, group, Some(json!({ "isRestricted": true }))),
            Change::Open => (Method::PATCH, group, Some(json!({ "isRestricted": false }))),
        };
        let api = Api::new(format!("http://{edge}"));
        let path = format!("{path}?expectedVersion={}", self.version);
        timeout(ANSWERED_WITHIN, api.call(method, &path, Some(&self.user.token), body)).await?
    }
}
