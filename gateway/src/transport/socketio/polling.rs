//! HTTP long polling as a link: requests of one engine come to its connection's task one by one.
//!
//! One poll waits at a time; a second one, or one that is cancelled, ends the engine. A post is answered when the session
//! has taken its packets. A websocket that proved itself takes over what is unsaid and unread, so nothing overtakes
//! anything.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{engine, engines::Registration, posts::Posts};
use crate::transport::{End, link::Received, socket::Socket};

/// Texts of the protocol itself that may wait for a poll.
const UNSAID_MAX: usize = 64;
/// How long a poll waits while a websocket is being probed: the client wants its polling to pause.
const PROBED_POLL: Duration = Duration::from_millis(50);

/// What HTTP requests want of an engine. An answer that is dropped is a refusal.
pub enum Request {
    /// GET: the next packets.
    Poll(oneshot::Sender<Vec<u8>>),
    /// POST: packets of the client; answered when all of them were read, false when one is malformed.
    Post(Bytes, oneshot::Sender<bool>),
    /// A websocket that wants to take over.
    Probe(Probe),
}

/// A websocket that wants to take over from polling.
pub struct Probe {
    /// Answered when it may go on.
    pub granted: oneshot::Sender<()>,
    /// The websocket, when the client is done polling.
    pub upgraded: oneshot::Receiver<Box<Socket>>,
}

/// How an engine says goodbye to a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The client asked for the end.
    Noop,
    /// The server ends it.
    Close,
}

/// The polling side of one engine.
pub struct Polling {
    requests: mpsc::Receiver<Request>,
    poll: Option<oneshot::Sender<Vec<u8>>>,
    posts: Posts,
    probe: Option<oneshot::Receiver<Box<Socket>>>,
    noop_at: Option<Instant>,
    unsaid: VecDeque<Bytes>,
    registration: Registration,
}

impl Polling {
    /// Serves what comes for the engine that is registered by this.
    pub fn new(requests: mpsc::Receiver<Request>, registration: Registration) -> Self {
        let (posts, unsaid) = (Posts::default(), VecDeque::new());
        Self { requests, poll: None, posts, probe: None, noop_at: None, unsaid, registration }
    }

    /// The next thing from the client; a text only while it `accepts` one. Dropping it midway loses nothing.
    pub async fn receive(&mut self, accepts: bool) -> Received {
        loop {
            if accepts && let Some(text) = self.posts.next() {
                return Received::Text(text);
            }
            let received = tokio::select! {
                request = self.requests.recv() => self.request(request),
                () = cancelled(self.poll.as_mut()) => Some(Received::Ended(End::Gone)),
                socket = upgraded(self.probe.as_mut()) => self.probed(socket),
                () = at(self.noop_at) => self.noop(),
            };
            if let Some(received) = received {
                return received;
            }
        }
    }

    fn request(&mut self, request: Option<Request>) -> Option<Received> {
        match request? {
            Request::Poll(poll) => Some(self.polled(poll)),
            Request::Post(body, done) => self.post(body, done),
            Request::Probe(probe) => {
                if self.probe.is_some() || probe.granted.send(()).is_err() {
                    return None;
                }
                self.probe = Some(probe.upgraded);
                // The client stops polling, and what it posted may wait for its polls: it is answered unread.
                self.posts.answer();
                self.noop()
            }
        }
    }

    fn polled(&mut self, poll: oneshot::Sender<Vec<u8>>) -> Received {
        if let Some(first) = self.poll.take() {
            let _ = first.send(engine::CLOSE.into());
            return Received::Ended(End::Gone);
        }
        self.poll = Some(poll);
        self.noop_at = self.probe.is_some().then(|| Instant::now() + PROBED_POLL);
        match self.speak() {
            Ok(()) => Received::Poll,
            Err(end) => Received::Ended(end),
        }
    }

    fn post(&mut self, body: Bytes, done: oneshot::Sender<bool>) -> Option<Received> {
        if !self.posts.push(body, done) {
            return Some(Received::Ended(End::Malformed));
        }
        if self.probe.is_some() {
            self.posts.answer();
        }
        None
    }

    fn probed(&mut self, socket: Option<Box<Socket>>) -> Option<Received> {
        self.probe = None;
        socket.map(Received::Upgraded)
    }

    /// Ends a waiting poll without a packet.
    fn noop(&mut self) -> Option<Received> {
        self.noop_at = None;
        let poll = self.poll.take()?;
        poll.send(engine::NOOP.into()).is_err().then_some(Received::Ended(End::Gone))
    }

    /// How many frames the waiting poll takes.
    pub fn room(&self) -> usize {
        if self.poll.is_some() { engine::PACKETS_PER_ANSWER_MAX } else { 0 }
    }

    /// Answers the waiting poll.
    pub fn send(&mut self, frames: impl IntoIterator<Item = Bytes>) -> Result<(), End> {
        self.unsaid.extend(frames);
        self.speak()
    }

    /// Says a text of the protocol itself, now or to the next poll.
    pub fn say(&mut self, text: Bytes) -> Result<(), End> {
        if self.unsaid.len() >= UNSAID_MAX {
            return Err(End::Malformed);
        }
        self.send([text])
    }

    fn speak(&mut self) -> Result<(), End> {
        if self.unsaid.is_empty() {
            return Ok(());
        }
        let Some(poll) = self.poll.take() else { return Ok(()) };
        self.noop_at = None;
        let count = self.unsaid.len().min(engine::PACKETS_PER_ANSWER_MAX);
        let packets: Vec<Bytes> = self.unsaid.drain(..count).collect();
        poll.send(engine::join(packets.iter().map(Bytes::as_ref))).map_err(|_| End::Gone)
    }

    /// Its client has shown who it is.
    pub fn connected(&self) {
        self.registration.connected();
    }

    /// Whether its client has shown who it is.
    pub fn has_connected(&self) -> bool {
        self.registration.has_connected()
    }

    /// What was said and not polled, and what was posted and not read: a websocket takes it over.
    pub fn take_over(&mut self) -> (VecDeque<Bytes>, Posts) {
        (std::mem::take(&mut self.unsaid), std::mem::take(&mut self.posts))
    }

    /// Gives the client a last chance to poll for what is left, then lets the engine go.
    pub async fn finish(mut self, frames: Vec<Bytes>, farewell: Farewell, within: Duration) {
        self.posts.answer();
        self.unsaid.extend(frames);
        if self.unsaid.is_empty() && self.poll.is_none() {
            return;
        }
        self.unsaid.push_back(Bytes::from_static(match farewell {
            Farewell::Noop => engine::NOOP.as_bytes(),
            Farewell::Close => engine::CLOSE.as_bytes(),
        }));
        let rest = async {
            while self.speak().is_ok() && !self.unsaid.is_empty() {
                match self.requests.recv().await {
                    Some(Request::Poll(poll)) => self.poll = Some(poll),
                    Some(Request::Post(..) | Request::Probe(_)) => {}
                    None => break,
                }
            }
        };
        let _ = timeout(within, rest).await;
    }
}

async fn cancelled(poll: Option<&mut oneshot::Sender<Vec<u8>>>) {
    match poll {
        Some(poll) => poll.closed().await,
        None => std::future::pending().await,
    }
}

async fn upgraded(probe: Option<&mut oneshot::Receiver<Box<Socket>>>) -> Option<Box<Socket>> {
    match probe {
        Some(probe) => probe.await.ok(),
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
