//! The admin of a group whose writers never stop: it removes, adds again, promotes, demotes, restricts and opens, and
//! logs when it asks and when it is answered.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
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
    /// What was asked for and when, last, without an answer.
    pub unanswered: HashMap<(Change, usize), Instant>,
}

/// What was asked for without an answer may be done as late as this, by a process that stood still.
const DOUBTFUL_FOR: Duration = Duration::from_secs(60);
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

    /// Asks until it is answered with success.
    async fn make(&mut self, change: Change, at: usize, log: &mut Log, board: &Board) -> anyhow::Result<()> {
        let client = self.members[at].client;
        log.write(&Line::Ask { change, client })?;
        let mut gateway = self.random.below(self.edges.len() as u64) as usize;
        loop {
            match self.ask(change, &self.members[at].user, self.edges[gateway]).await {
                Ok((status, _)) if status.is_success() => break,
                // An earlier attempt without an answer removed it.
                Ok((StatusCode::NOT_FOUND, _)) if self.is_doubtful(Change::Remove, client) => break,
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
                _ => _ = self.unanswered.insert((change, client), Instant::now()),
            }
            gateway = (gateway + 1) % self.edges.len();
            sleep(RETRY_AFTER).await;
        }
        board.changes.fetch_add(1, Ordering::Relaxed);
        log.write(&Line::Done { change, client })?;
        // An attempt to give it that nobody answered may still be done: it counts as asked back.
        let given = match change {
            Change::Remove => Change::Add,
            Change::Demote => Change::Promote,
            Change::Restrict => Change::Open,
            Change::Add | Change::Promote | Change::Open => return Ok(()),
        };
        if self.is_doubtful(given, client) { log.write(&Line::Ask { change: given, client }) } else { Ok(()) }
    }

    fn is_doubtful(&self, change: Change, client: usize) -> bool {
        let is_meant = |asked: &(Change, usize)| asked.0 == change && (asked.1 == client || change == Change::Open);
        self.unanswered.iter().any(|(asked, at)| is_meant(asked) && at.elapsed() < DOUBTFUL_FOR)
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
        timeout(ANSWERED_WITHIN, api.call(method, &path, Some(&self.user.token), body)).await?
    }
}
