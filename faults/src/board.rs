//! What everybody in a run shares: how far it is, and what it has measured.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// What clients do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connect, write nothing yet.
    Gathering,
    /// Write.
    Writing,
    /// Write nothing new, but repeat until everything is decided.
    Settling,
    /// Leave.
    Leaving,
}

/// The shared state of a run.
pub struct Board {
    began: Instant,
    pub phase: watch::Sender<Phase>,
    /// Messages acknowledged.
    pub acked: AtomicU64,
    /// Changes of rights that were answered.
    pub changes: AtomicU64,
    /// Connections that were closed because their client read too slowly.
    pub overflows: AtomicU64,
    /// Answers to repeats of acknowledged messages that were compared.
    pub repeats: AtomicU64,
    /// When the newest acknowledged message of each probing client was sent, microseconds of the run.
    probes: Vec<AtomicU64>,
    /// Messages undecided, of each client.
    pub undecided: Vec<AtomicU64>,
    /// Where each client is; -1 before it is connected.
    pub reached: Vec<AtomicI64>,
    catch_ups: Mutex<Vec<Duration>>,
    wrongs: Mutex<Vec<String>>,
}

const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Board {
    pub fn new(clients: usize, probes: usize) -> Self {
        Self {
            began: Instant::now(),
            phase: watch::Sender::new(Phase::Gathering),
            acked: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            probes: (0..probes).map(|_| AtomicU64::new(0)).collect(),
            undecided: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            reached: (0..clients).map(|_| AtomicI64::new(-1)).collect(),
            catch_ups: Mutex::default(),
            wrongs: Mutex::default(),
        }
    }

    /// A message of this client that was first sent then is acknowledged.
    pub fn acknowledged(&self, client: usize, sent: Instant) {
        self.acked.fetch_add(1, Ordering::Relaxed);
        if let Some(probe) = self.probes.get(client) {
            probe.fetch_max(self.micros(sent), Ordering::Relaxed);
        }
    }

    /// A client that came back has everything it missed.
    pub fn caught_up(&self, within: Duration) {
        self.catch_ups.lock().expect("nobody panics while it holds the list").push(within);
    }

    /// How long clients that came back took, sorted.
    pub fn catch_ups(&self) -> Vec<Duration> {
        let mut all = self.catch_ups.lock().expect("nobody panics while it holds the list").clone();
        all.sort_unstable();
        all
    }

    /// Something that may never be, seen by none of the clients with a log.
    pub fn wrong(&self, what: String) {
        self.wrongs.lock().expect("nobody panics while it holds the list").push(what);
    }

    /// All of that.
    pub fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().expect("nobody panics while it holds the list").clone()
    }

    /// Waits until something that was sent after `since` is acknowledged.
    pub async fn first_ack(&self, since: Instant) -> Duration {
        while !self.probes.iter().any(|probe| probe.load(Ordering::Relaxed) > self.micros(since)) {
            sleep(LOOK_EVERY).await;
        }
        since.elapsed()
    }

    /// Waits until every probing client has something acknowledged that it sent after `since`.
    pub async fn everybody(&self, since: Instant) -> Duration {
        while !self.probes.iter().all(|probe| probe.load(Ordering::Relaxed) > self.micros(since)) {
            sleep(LOOK_EVERY).await;
        }
        since.elapsed()
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}
