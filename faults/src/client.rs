//! A client over real sockets: it writes, reads, vanishes, stalls, comes back with its cursor, and repeats whatever it
//! has no answer for under the same key. It logs before it sends, and leaves a gateway that gives no sign of life.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use messenger_testkit::{Api, User, api::PASSWORD};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::{
    board::{Board, Phase},
    content,
    link::{self, Frame, Link, Reader, ResumePoint, Wire, Writer},
    log::{Line, Log},
    random::Random,
    repeat,
};

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Messages that may be undecided; 1 waits for each answer.
    pub window: usize,
    /// Messages sent at once when nothing is undecided; else 1.
    pub burst: usize,
    /// Between sends.
    pub pace: Duration,
    /// Leaves without a word about so often, if ever.
    pub vanishes_every: Option<Duration>,
    /// Reads nothing about so often, and then for so long at most, if ever.
    pub stalls: Option<(Duration, Duration)>,
    /// Characters of each message at least.
    pub length: usize,
    /// Whether it may be refused for good.
    pub is_restrained: bool,
}

/// Whom it writes to: the field of the draft and the id.
pub type Target = (&'static str, String);

/// What a client is made of.
pub struct Role {
    pub number: usize,
    pub user: User,
    pub target: Option<Target>,
    pub habits: Habits,
    /// None: it has no socket.
    pub wire: Option<Wire>,
}

/// A client between two connections.
pub struct Client {
    role: Role,
    wire: Wire,
    edges: Vec<SocketAddr>,
    board: Arc<Board>,
    log: Log,
    random: Random,
    resume_point: ResumePoint,
    gateway: usize,
    /// Whether that gateway gave no sign of life, or no connection.
    is_silent: bool,
    connections: u32,
    undecided: BTreeMap<u64, Undecided>,
    last_n: u64,
    vanish_at: Option<Instant>,
    stall_at: Option<Instant>,
}

/// A message without a final answer.
struct Undecided {
    attempts: u32,
    first_sent: Instant,
    /// When to send it (again); none while it waits for an answer.
    due: Option<Instant>,
}

/// One connection.
struct Conversing {
    writer: Writer,
    last_id: u64,
    /// Requests without an answer: for which message, and since when.
    waiting: HashMap<u64, (u64, Instant)>,
    /// When anything came.
    heard: Instant,
    /// Asked for a sign of life, by this request.
    sign_of_life: Option<u64>,
    /// When it came back; until it has what it missed.
    catching_up: Option<Instant>,
}

/// Longer than a frozen process, the gateway's own deadline and recovery together.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// A client that waits for an answer and hears nothing at all asks the gateway for a sign of life …
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// … and without one goes to another gateway. A gateway whose services are away answers, and is not left.
const LEFT_AFTER: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// One acknowledged message in so many is repeated.
const REPEATED_EVERY: u64 = 100;

impl Client {
    pub fn new(
        (role, wire): (Role, Wire),
        edges: Vec<SocketAddr>,
        board: Arc<Board>,
        folder: &Path,
        random: Random,
    ) -> anyhow::Result<Self> {
        let log = Log::create(folder, role.number)?;
        let gateway = role.number % edges.len();
        Ok(Self {
            role,
            wire,
            edges,
            board,
            log,
            random,
            resume_point: ResumePoint::default(),
            gateway,
            is_silent: false,
            connections: 0,
            undecided: BTreeMap::new(),
            last_n: 0,
            vanish_at: None,
            stall_at: None,
        })
    }

    /// Until the run is over.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while *self.board.phase.borrow() != Phase::Leaving {
            if let Err(error) = self.live_once().await {
                let why = format!("{error:#}");
                if why.contains("TOKEN_")
                    && let Ok(token) = log_in(self.edges[self.gateway], &self.role.user).await
                {
                    self.role.user.token = token;
                }
                if why.contains("slow_consumer") || why.contains("4430") {
                    self.board.overflows.fetch_add(1, Ordering::Relaxed);
                }
                self.log.write(&Line::Gone { why })?;
                self.gateway = self.next_gateway();
                sleep(Duration::from_millis(50 + self.random.below(100))).await;
            }
        }
        Ok(())
    }

    /// As a balancer would: any of them, but for the one that is silent.
    fn next_gateway(&mut self) -> usize {
        let count = self.edges.len() as u64;
        let step = if self.is_silent { 1 + self.random.below(count - 1) } else { self.random.below(count) };
        (self.gateway + step as usize) % self.edges.len()
    }

    /// One connection, from its beginning to its end.
    async fn live_once(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let came_back = self.connections > 0;
        let edge = self.edges[self.gateway];
        self.is_silent = true;
        let link = link::connect(edge, self.wire, &self.role.user.token, &self.resume_point).await?;
        self.is_silent = false;
        let Link { writer, mut reader, recovered, pid, cursor } = link;
        let position = self.resume_point.cursor.as_deref().or(cursor.as_deref()).map_or(Ok(0), link::position)?;
        self.log.write(&Line::Connected { gateway: self.gateway, recovered, position })?;
        if came_back && !recovered {
            self.wrong("what was missed was not given".to_owned())?;
        }
        self.resume_point.pid = pid;
        self.resume_point.cursor = self.resume_point.cursor.take().or(cursor);
        self.board.reached[self.role.number].fetch_max(position, Ordering::Relaxed);
        self.connections += 1;
        let now = Instant::now();
        self.undecided.values_mut().for_each(|undecided| undecided.due = Some(now));
        let habits = self.role.habits;
        self.vanish_at = self.some_time_in(habits.vanishes_every);
        self.stall_at = self.some_time_in(habits.stalls.map(|(every, _)| every));
        let catching_up = came_back.then_some(began);
        let (heard, sign_of_life) = (Instant::now(), None);
        let mut link = Conversing { writer, last_id: 0, waiting: HashMap::new(), heard, sign_of_life, catching_up };
        self.converse(&mut reader, &mut link).await
    }

    fn some_time_in(&mut self, about: Option<Duration>) -> Option<Instant> {
        let about = about?;
        Some(Instant::now() + about / 2 + about.mul_f64(self.random.below(1_000) as f64 / 1_000.0))
    }

    async fn converse(&mut self, reader: &mut Reader, link: &mut Conversing) -> anyhow::Result<()> {
        let mut next_send = Instant::now() + self.role.habits.pace.mul_f64(self.random.below(1_000) as f64 / 1_000.0);
        let mut phase = self.board.phase.subscribe();
        loop {
            let now_phase = *phase.borrow_and_update();
            if now_phase == Phase::Leaving {
                return Ok(());
            }
            let is_writing = now_phase == Phase::Writing && self.role.target.is_some() && self.has_room();
            let due = self.undecided.values().filter_map(|undecided| undecided.due).min();
            let overdue = link.waiting.values().map(|(_, at)| *at + ANSWERED_WITHIN).min();
            let is_lively = now_phase == Phase::Writing;
            tokio::select! {
                frame = reader.next() => self.take(frame?, link).await?,
                () = sleep_until(next_send), if is_writing => {
                    for _ in 0..self.role.habits.burst {
                        self.last_n += 1;
                        let fresh = Undecided { attempts: 0, first_sent: Instant::now(), due: None };
                        self.undecided.insert(self.last_n, fresh);
                        self.send(self.last_n, link).await?;
                    }
                    next_send = Instant::now() + self.role.habits.pace;
                }
                () = at(due) => self.send_due(link).await?,
                () = at(link.quiet_until(ASKED_AFTER)), if link.sign_of_life.is_none() => {
                    link.last_id += 1;
                    link.sign_of_life = Some(link.last_id);
                    link.writer.ask(link.last_id, "refresh_token", &json!({ "token": self.role.user.token })).await?;
                }
                () = at(link.quiet_until(LEFT_AFTER)) => match reader.next().now_or_never() {
                    // It was this client that did not look.
                    Some(frame) => self.take(frame?, link).await?,
                    None => {
                        self.is_silent = true;
                        anyhow::bail!("no sign of life for {LEFT_AFTER:?}");
                    }
                },
                () = at(overdue) => {
                    self.wrong("a request has no answer".to_owned())?;
                    anyhow::bail!("a request has no answer");
                }
                () = at(self.vanish_at), if is_lively => {
                    let away = Duration::from_millis(200 + self.random.below(4_000));
                    sleep(away).await;
                    anyhow::bail!("vanished for {away:?}");
                }
                () = at(self.stall_at), if is_lively => {
                    let stalls = self.role.habits.stalls;
                    let longest = stalls.map_or(Duration::ZERO, |(_, longest)| longest);
                    sleep(longest.mul_f64(0.5 + self.random.below(500) as f64 / 1_000.0)).await;
                    self.stall_at = self.some_time_in(stalls.map(|(every, _)| every));
                }
                _ = phase.changed() => {}
            }
            self.board.undecided[self.role.number].store(self.undecided.len() as u64, Ordering::Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        let Habits { window, burst, .. } = self.role.habits;
        self.undecided.len() + burst <= window
    }

    async fn send_due(&mut self, link: &mut Conversing) -> anyhow::Result<()> {
        let now = Instant::now();
        let due = |undecided: &Undecided| undecided.due.is_some_and(|due| due <= now);
        let again: Vec<u64> = self.undecided.iter().filter(|(_, one)| due(one)).map(|(n, _)| *n).collect();
        for n in again {
            self.send(n, link).await?;
        }
        Ok(())
    }

    async fn send(&mut self, n: u64, link: &mut Conversing) -> anyhow::Result<()> {
        let draft = self.draft(n)?;
        let undecided = self.undecided.get_mut(&n).context("it is undecided")?;
        undecided.attempts += 1;
        undecided.due = None;
        let line = Line::Send { n, attempt: undecided.attempts, connection: self.connections };
        self.log.write(&line)?;
        link.last_id += 1;
        link.waiting.insert(link.last_id, (n, Instant::now()));
        link.writer.ask(link.last_id, "send_message", &draft).await
    }

    fn draft(&self, n: u64) -> anyhow::Result<Value> {
        let (field, id) = self.role.target.as_ref().context("only those with a target write")?;
        let content = content::write(self.role.number, n, self.role.habits.length);
        Ok(json!({ *field: id, "content": content, "clientMessageId": n.to_string() }))
    }

    async fn take(&mut self, frame: Frame, link: &mut Conversing) -> anyhow::Result<()> {
        link.heard = Instant::now();
        match frame {
            Frame::Nothing => {}
            Frame::Answer(id, _) if link.sign_of_life == Some(id) => link.sign_of_life = None,
            Frame::Ping => link.writer.pong().await?,
            Frame::Answer(id, value) => match link.waiting.remove(&id) {
                Some((n, _)) => self.answered(n, &value)?,
                None => self.wrong(format!("an answer to nothing: {value}"))?,
            },
            Frame::Event { name, data, cursor: Some(cursor) } => self.saw(&name, &data, cursor)?,
            Frame::Event { name, data, cursor: None } => match name.as_str() {
                "sync_completed" => {
                    let cursor = data["cursor"].as_str().context("a cursor")?;
                    self.board.reached[self.role.number].fetch_max(link::position(cursor)?, Ordering::Relaxed);
                    self.resume_point.cursor = Some(cursor.to_owned());
                    if let Some(began) = link.catching_up.take() {
                        self.board.caught_up(began.elapsed());
                    }
                    if data["limited"].as_array().is_none_or(|limited| !limited.is_empty()) {
                        self.wrong(format!("more was missed than is replayed: {data}"))?;
                    }
                }
                "resync_required" | "error" => self.wrong(format!("{name} {data}"))?,
                "token_expiring" => {
                    self.role.user.token = log_in(self.edges[self.gateway], &self.role.user).await?;
                    anyhow::bail!("comes with a new token");
                }
                _ => {}
            },
        }
        Ok(())
    }

    fn answered(&mut self, n: u64, answer: &Value) -> anyhow::Result<()> {
        let connection = self.connections;
        if let Some(code) = answer["error"]["code"].as_str() {
            self.log.write(&Line::Refused { n, code: code.to_owned() })?;
            match code {
                "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "DRAINING" | "RATE_LIMITED" => {
                    let due = Instant::now() + RETRY_AFTER;
                    self.undecided.entry(n).and_modify(|undecided| undecided.due = Some(due));
                }
                "FORBIDDEN" | "NOT_FOUND" if self.role.habits.is_restrained => {
                    self.undecided.remove(&n);
                }
                _ => self.wrong(format!("message {n} was refused: {answer}"))?,
            }
            return Ok(());
        }
        let id: Uuid = answer["id"].as_str().context("an id")?.parse()?;
        let seq = answer["seq"].as_i64().context("a seq")?;
        self.log.write(&Line::Ack { n, id, seq, connection })?;
        if let Some(undecided) = self.undecided.remove(&n) {
            self.board.acknowledged(self.role.number, undecided.first_sent);
        }
        if self.random.below(REPEATED_EVERY) == 0 && !self.role.habits.is_restrained {
            let (edges, user, draft) = (self.edges.clone(), self.role.user.clone(), self.draft(n)?);
            tokio::spawn(repeat::run(edges, user, draft, id, Arc::clone(&self.board)));
        }
        Ok(())
    }

    fn saw(&mut self, name: &str, data: &Value, cursor: String) -> anyhow::Result<()> {
        let position = link::position(&cursor)?;
        self.resume_point.cursor = Some(cursor);
        let line = event_line(name, data, position)?;
        self.log.write(&line)?;
        self.board.reached[self.role.number].fetch_max(position, Ordering::Relaxed);
        Ok(())
    }

    fn wrong(&mut self, what: String) -> anyhow::Result<()> {
        self.log.write(&Line::Wrong { what })
    }
}

/// A new access token of a registered user.
pub async fn log_in(edge: SocketAddr, user: &User) -> anyhow::Result<String> {
    let api = Api::new(format!("http://{edge}"));
    let body = json!({ "email": user.email, "password": PASSWORD });
    let call = api.call(Method::POST, "auth/login", None, Some(body));
    let (_, answer) = timeout(Duration::from_secs(10), call).await??;
    Ok(answer["accessToken"].as_str().context("logged in")?.to_owned())
}

/// What the log says about a durable event.
pub fn event_line(name: &str, data: &Value, position: i64) -> anyhow::Result<Line> {
    if name != "new_message" && name != "message_sent" {
        return Ok(Line::Other { position });
    }
    let text = |field: &str| data[field].as_str().context("a message has all its fields");
    let (conversation, id) = (text("conversationId")?.parse()?, text("id")?.parse()?);
    let seq = data["seq"].as_i64().context("a seq")?;
    Ok(match content::read(text("content")?) {
        Some((sender, n)) => Line::Event { position, conversation, id, seq, sender, n },
        None => Line::Wrong { what: format!("a content nobody wrote: {data}") },
    })
}

impl Conversing {
    /// Until when nothing may come while an answer is waited for.
    fn quiet_until(&self, patience: Duration) -> Option<Instant> {
        let oldest = self.waiting.values().map(|(_, at)| *at).min()?;
        Some(oldest.max(self.heard) + patience)
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
