//! The task behind the feed: brings commits into their order, whichever way they come.
//!
//! The bus says what was committed; a commit that continues from here is handed out at once. A gap is given 20 ms to
//! close, then the journal is read, as it is when the bus was interrupted or the head lies beyond. Reads run in tasks
//! of their own, so that a slow store holds up nothing that is already here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use messenger_bus::{BusReceiver, EventBus, Publication, Received};
use messenger_core::{ConversationId, Error, ErrorKind, JournalId, Position, Result, UserId};
use messenger_proto::event::v1::{Signal, signal::Signal as Signals};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    COMMANDS_QUEUED_MAX, Command, Feed,
    followers::{Followers, Ticket},
};
use crate::{
    batch::EntryBatch,
    model::{Followed, JournalHead, JournalPage},
    store::Store,
};

/// How long a gap may close by itself.
const GAP_WAIT: Duration = Duration::from_millis(20);
/// How long until a failed read is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// How often the head is read and a follower hears something.
const TICK: Duration = Duration::from_secs(1);
/// Commits kept until the gap before them closes.
const EARLY_COMMITS_MAX: usize = 64;
/// Entries read from the journal at once.
const JOURNAL_PAGE_ENTRIES: u32 = 1_000;
/// Snapshots of memberships read at once.
const SNAPSHOTS_MAX: usize = 4;

/// The task that hands out entries.
pub struct Sequencer {
    store: Arc<dyn Store>,
    bus: BusReceiver<EntryBatch>,
    commands: mpsc::Receiver<Command>,
    tracker: TaskTracker,
    followers: Followers,
    journal: JournalId,
    position: Position,
    shown_position: Arc<AtomicI64>,
    early: BTreeMap<Position, Commit>,
    /// While the position is below this, something is missing.
    gap_to: Position,
    /// Whether anything may be missing: the bus was interrupted after the journal was last asked.
    is_interrupted: bool,
    /// When the journal is to be read for it.
    due: Option<Instant>,
    page: Option<JoinHandle<Result<JournalPage>>>,
    head: Option<JoinHandle<Result<JournalHead>>>,
    snapshots: JoinSet<(Ticket, Result<Followed>)>,
}

struct Commit {
    last: Position,
    /// None: to be read from the journal.
    batch: Option<Arc<EntryBatch>>,
}

impl Sequencer {
    /// The feed from `head` on, and the task it needs.
    pub fn new(
        store: Arc<dyn Store>,
        bus: &dyn EventBus<EntryBatch>,
        head: JournalHead,
        tracker: TaskTracker,
    ) -> (Feed, Self) {
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let shown_position = Arc::new(AtomicI64::new(head.last.0));
        let feed = Feed {
            journal: head.id,
            position: Arc::clone(&shown_position),
            commands: sender,
            next_id: Arc::new(AtomicU64::new(1)),
        };
        let sequencer = Self {
            store,
            bus: bus.subscribe(),
            commands,
            tracker,
            followers: Followers::default(),
            journal: head.id,
            position: head.last,
            shown_position,
            early: BTreeMap::new(),
            gap_to: Position::default(),
            is_interrupted: false,
            due: None,
            page: None,
            head: None,
            snapshots: JoinSet::new(),
        };
        (feed, sequencer)
    }

    /// Hands out entries until `cancel`; then every follower is sent elsewhere.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !cancel.is_cancelled() {
            if !self.step(&cancel, &mut ticks).await {
                break;
            }
        }
        // They end by themselves: no read of the store is dropped.
        self.snapshots.detach_all();
        self.followers.end_all(&Error::new(ErrorKind::Draining, "this process ends: follow another one"));
    }

    /// One thing that happens. False at the end.
    async fn step(&mut self, cancel: &CancellationToken, ticks: &mut Interval) -> bool {
        let due = self.due.filter(|_| self.page.is_none());
        let may_snapshot = self.snapshots.len() < SNAPSHOTS_MAX;
        tokio::select! {
            () = cancel.cancelled() => return false,
            received = self.bus.receive() => match received {
                Some(received) => self.received(received),
                None => return false,
            },
            Some(command) = self.commands.recv(), if may_snapshot => self.command(command),
            Some(snapshot) = self.snapshots.join_next() => self.snapshot(snapshot),
            page = finished(&mut self.page) => self.page(page),
            head = finished(&mut self.head) => return self.head(head),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.read_journal(),
            _ = ticks.tick() => self.tick(),
        }
        true
    }

    fn received(&mut self, received: Received<EntryBatch>) {
        match received {
            Received::Publication(Publication::Entries { previous, last, batch }) => {
                self.committed(previous, Commit { last, batch });
            }
            Received::Publication(Publication::Signal(encoded)) => self.signal(&encoded),
            Received::Interrupted => self.interrupted(),
        }
        self.settle(Instant::now() + GAP_WAIT);
    }

    fn committed(&mut self, previous: Position, commit: Commit) {
        if commit.last <= self.position {
            return;
        }
        self.gap_to = self.gap_to.max(commit.last);
        if previous <= self.position && commit.batch.is_none() {
            self.due = Some(Instant::now());
            return;
        }
        self.early.insert(previous, commit);
        self.catch_up();
        if self.early.len() > EARLY_COMMITS_MAX {
            self.early.clear();
        }
    }

    /// Hands out what continues from here.
    fn catch_up(&mut self) {
        while let Some(first) = self.early.first_entry() {
            if first.get().last <= self.position {
                first.remove();
                continue;
            }
            if *first.key() > self.position {
                return;
            }
            let Commit { last, batch } = first.remove();
            match batch {
                Some(batch) => self.hand_out(&batch, last),
                None => self.due = Some(Instant::now()),
            }
        }
    }

    fn hand_out(&mut self, batch: &Arc<EntryBatch>, last: Position) {
        self.followers.apply(batch, self.position, last);
        self.position = last;
        self.shown_position.store(last.0, Ordering::Relaxed);
    }

    fn interrupted(&mut self) {
        self.is_interrupted = true;
        self.due = Some(Instant::now());
    }

    /// Is something missing? Then the journal is read at `due`, if not before.
    fn settle(&mut self, due: Instant) {
        if self.position >= self.gap_to && !self.is_interrupted {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(due);
        }
    }

    fn read_journal(&mut self) {
        self.due = None;
        self.is_interrupted = false;
        let (store, after) = (Arc::clone(&self.store), self.position);
        self.page = Some(self.tracker.spawn(async move { store.read_journal(after, JOURNAL_PAGE_ENTRIES).await }));
    }

    fn page(&mut self, page: Result<JournalPage>) {
        match page {
            Ok(page) => {
                let to = page.complete_to.max(self.position);
                self.hand_out(&Arc::new(EntryBatch(page.entries)), to);
                self.catch_up();
                if page.has_more {
                    self.gap_to = self.gap_to.max(Position(self.position.0 + 1));
                    self.due = Some(Instant::now());
                }
                self.settle(Instant::now() + GAP_WAIT);
            }
            Err(error) => {
                tracing::warn!(?error, "the journal cannot be read");
                self.is_interrupted = true;
                self.settle(Instant::now() + RETRY_WAIT);
            }
        }
    }

    fn tick(&mut self) {
        self.followers.heartbeat(self.position);
        metrics::gauge!("messenger_followers").set(self.followers.count() as f64);
        if self.head.is_none() {
            let store = Arc::clone(&self.store);
            self.head = Some(self.tracker.spawn(async move { store.journal().await }));
        }
    }

    /// False when it is another journal: nothing here is true of it.
    fn head(&mut self, head: Result<JournalHead>) -> bool {
        match head {
            Ok(head) if head.id != self.journal => {
                tracing::error!("the journal was given a new identity: this process ends, to be started anew");
                return false;
            }
            Ok(head) => {
                metrics::gauge!("messenger_feed_lag_positions").set((head.last.0 - self.position.0).max(0) as f64);
                self.gap_to = self.gap_to.max(head.last);
                self.settle(Instant::now() + GAP_WAIT);
            }
            Err(error) => tracing::warn!(?error, "the head of the journal cannot be read"),
        }
        true
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(id, queue) => self.followers.open(id, queue, self.position),
            Command::Remove(id, users) => self.followers.remove(id, &users),
            Command::Add(id, users) => {
                if let Some(ticket) = self.followers.begin(id, &users) {
                    let store = Arc::clone(&self.store);
                    let read = self.tracker.track_future(async move { (ticket, store.follow(&users).await) });
                    self.snapshots.spawn(read);
                }
            }
        }
    }

    fn snapshot(&mut self, snapshot: Result<(Ticket, Result<Followed>), JoinError>) {
        match snapshot {
            Ok((ticket, Ok(snapshot))) => {
                self.gap_to = self.gap_to.max(snapshot.position);
                self.followers.complete(ticket, snapshot, self.position);
                self.settle(Instant::now() + GAP_WAIT);
            }
            Ok((ticket, Err(error))) => {
                tracing::warn!(?error, "memberships cannot be read");
                self.followers.fail(ticket, &error);
            }
            Err(error) => tracing::error!(%error, "reading memberships failed"),
        }
    }

    fn signal(&mut self, encoded: &Bytes) {
        let Ok(signal) = Signal::decode(encoded.clone()) else { return };
        let Ok(conversation) = ConversationId::parse("conversationId", &signal.conversation_id) else { return };
        let only = match &signal.signal {
            Some(Signals::MessageRead(read)) if read.to_reader_only => match UserId::parse("userId", &read.user_id) {
                Ok(reader) => Some(reader),
                Err(_) => return,
            },
            _ => None,
        };
        self.followers.signal(conversation, only, encoded);
    }
}

/// The result of a read when there is one going on and it is finished; forgets it then.
async fn finished<T>(read: &mut Option<JoinHandle<Result<T>>>) -> Result<T> {
    let result = match read {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    };
    *read = None;
    result.unwrap_or_else(|error| Err(Error::internal(error)))
}
