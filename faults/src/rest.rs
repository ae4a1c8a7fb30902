//! A client without a socket: it sends by POST and reads by long poll, at whichever gateway answers.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use messenger_testkit::{Api, User};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    board::{Board, Phase},
    client::{Role, event_line, log_in},
    content, link,
    log::{Line, Log},
    random::Random,
};

/// Then it asks elsewhere; a long poll as much later as it was told to wait.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
const POLL_FOR: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The client.
pub struct RestClient {
    role: Role,
    apis: Vec<Api>,
    edges: Vec<SocketAddr>,
    board: Arc<Board>,
    log: Mutex<Log>,
}

impl RestClient {
    pub fn new(role: Role, edges: Vec<SocketAddr>, board: Arc<Board>, folder: &Path) -> anyhow::Result<Self> {
        let log = Mutex::new(Log::create(folder, role.number)?);
        let apis = edges.iter().map(|edge| Api::new(format!("http://{edge}"))).collect();
        Ok(Self { role, apis, edges, board, log })
    }

    /// Until the run is over.
    pub async fn run(self, mut random: Random) -> anyhow::Result<()> {
        let (writing, reading) = (random.fork(), random);
        tokio::try_join!(self.send_all(writing), self.read_all(reading))?;
        Ok(())
    }

    fn phase(&self) -> Phase {
        *self.board.phase.borrow()
    }

    fn log(&self, line: &Line) -> anyhow::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    async fn send_all(&self, mut random: Random) -> anyhow::Result<()> {
        let mut n = 0;
        while self.phase() <= Phase::Writing {
            sleep(self.role.habits.pace).await;
            if self.phase() == Phase::Writing {
                n += 1;
                self.send(n, &mut random).await?;
            }
        }
        Ok(())
    }

    /// Until it is answered.
    async fn send(&self, n: u64, random: &mut Random) -> anyhow::Result<()> {
        let first_sent = Instant::now();
        let undecided = &self.board.undecided[self.role.number];
        undecided.store(1, Ordering::Relaxed);
        let mut user = self.role.user.clone();
        let (_, group) = self.role.target.as_ref().context("it has somebody to write to")?;
        let path = format!("conversations/{group}/messages");
        let mut gateway = random.below(self.apis.len() as u64) as usize;
        for attempt in 1.. {
            self.log(&Line::Send { n, attempt, connection: 1 })?;
            let content = content::write(self.role.number, n, 0);
            let body = json!({ "content": content, "clientMessageId": n.to_string() });
            let call = self.apis[gateway].call(Method::POST, &path, Some(&user.token), Some(body));
            match timeout(ANSWERED_WITHIN, call).await {
                Ok(Ok((status, answer))) if status.is_success() => {
                    let id = answer["id"].as_str().context("an id")?.parse()?;
                    let seq = answer["seq"].as_i64().context("a seq")?;
                    self.log(&Line::Ack { n, id, seq, connection: 1 })?;
                    break;
                }
                Ok(Ok((StatusCode::UNAUTHORIZED, _))) => self.renew(&mut user, gateway).await,
                Ok(Ok((status, answer))) if !is_retryable(status) => {
                    self.log(&Line::Wrong { what: format!("message {n} was refused: {answer}") })?;
                    break;
                }
                _ => {}
            }
            gateway = (gateway + 1) % self.apis.len();
            sleep(RETRY_AFTER).await;
        }
        self.board.acknowledged(self.role.number, first_sent);
        undecided.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn read_all(&self, mut random: Random) -> anyhow::Result<()> {
        let (mut user, mut cursor) = (self.role.user.clone(), None);
        let mut gateway = random.below(self.apis.len() as u64) as usize;
        while self.phase() != Phase::Leaving {
            let path = match &cursor {
                Some(cursor) => format!("sync?cursor={cursor}&waitMs={}", POLL_FOR.as_millis()),
                None => "sync".to_owned(),
            };
            let call = self.apis[gateway].call(Method::GET, &path, Some(&user.token), None);
            match timeout(POLL_FOR + ANSWERED_WITHIN, call).await {
                Ok(Ok((StatusCode::OK, page))) => {
                    cursor = Some(self.saw(&page)?);
                    continue;
                }
                Ok(Ok((StatusCode::UNAUTHORIZED, _))) => self.renew(&mut user, gateway).await,
                Ok(Ok((status, answer))) if !is_retryable(status) => {
                    self.log(&Line::Wrong { what: format!("sync was refused: {answer}") })?;
                }
                _ => {}
            }
            gateway = (gateway + 1) % self.apis.len();
            sleep(RETRY_AFTER).await;
        }
        Ok(())
    }

    /// Logs a page of events; gives the cursor of the next one.
    fn saw(&self, page: &Value) -> anyhow::Result<String> {
        for event in page["events"].as_array().context("a page has events")? {
            let position = link::position(event["cursor"].as_str().context("an event has a cursor")?)?;
            self.log(&event_line(event["event"].as_str().context("an event has a name")?, &event["data"], position)?)?;
        }
        if page["limited"] != json!([]) {
            self.log(&Line::Wrong { what: format!("what was missed was not given: {}", page["limited"]) })?;
        }
        let cursor = page["cursor"].as_str().context("a page has a cursor")?;
        self.board.reached[self.role.number].fetch_max(link::position(cursor)?, Ordering::Relaxed);
        Ok(cursor.to_owned())
    }

    async fn renew(&self, user: &mut User, gateway: usize) {
        // Fails while auth is away; then the next answer is the same.
        if let Ok(token) = log_in(self.edges[gateway], user).await {
            user.token = token;
        }
    }
}

fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
