//! Brings commits into their order, whichever way they come, and hands them to the followers. No I/O: it is told what
//! happened and when, and says what is to be read.
//!
//! A commit that continues from here is handed out at once. A gap is given 20 ms to close, then the journal is to be
//! read, as it is when the bus was interrupted or the head lies beyond.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use messenger_bus::{Publication, Received};
use messenger_core::{Bug, ConversationId, Error, JournalId, Position, Result, UserId, is_seeded};
use messenger_proto::event::v1::{Signal, signal::Signal as Signals};
use prost::Message as _;
use tokio::time::Instant;

use super::{
    Command,
    followers::{Followers, Ticket},
};
use crate::{
    batch::EntryBatch,
    model::{Followed, JournalHead, JournalPage},
};

/// How long a gap may close by itself.
const GAP_WAIT: Duration = Duration::from_millis(20);
/// How long until a failed read is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// Commits kept until the gap before them closes.
const EARLY_COMMITS_MAX: usize = 64;

/// Where the feed of one process is, and who hears it.
pub struct Order {
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
    /// It is being read.
    is_reading: bool,
}

struct Commit {
    last: Position,
    /// None: to be read from the journal.
    batch: Option<Arc<EntryBatch>>,
}

/// Memberships to be read, and what the answer is to be called.
pub struct Snapshot {
    /// Goes with the answer.
    pub ticket: Ticket,
    /// Whose memberships.
    pub users: Vec<UserId>,
}

/// What happened.
impl Order {
    /// Begins at the journal's head, which `shown_position` is told of from then on.
    pub(crate) fn new(head: JournalHead, shown_position: Arc<AtomicI64>) -> Self {
        Self {
            followers: Followers::default(),
            journal: head.id,
            position: head.last,
            shown_position,
            early: BTreeMap::new(),
            gap_to: Position::default(),
            is_interrupted: false,
            due: None,
            is_reading: false,
        }
    }

    /// The bus brought something.
    pub fn received(&mut self, received: Received<EntryBatch>, now: Instant) {
        match received {
            Received::Publication(Publication::Entries { previous, last, batch }) => {
                self.committed(previous, Commit { last, batch }, now);
            }
            Received::Publication(Publication::Signal(encoded)) => self.signal(&encoded),
            Received::Interrupted => self.interrupted(now),
        }
        self.settle(now + GAP_WAIT);
    }

    /// When the journal is to be read; none while it is, or while nothing is missing.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_reading)
    }

    /// The journal is being read from the position this gives.
    pub fn begin_reading(&mut self) -> Position {
        (self.due, self.is_interrupted, self.is_reading) = (None, false, true);
        self.position
    }

    /// The journal was read, or could not be.
    pub fn page(&mut self, page: Result<JournalPage>, now: Instant) {
        self.is_reading = false;
        match page {
            Ok(page) => {
                let to = page.complete_to.max(self.position);
                self.hand_out(&page.entries.into_iter().collect(), to);
                self.catch_up(now);
                if page.has_more && page.complete_to >= self.position {
                    self.gap_to = self.gap_to.max(Position(self.position.0 + 1));
                    self.due = Some(now);
                }
                self.settle(now + GAP_WAIT);
            }
            Err(error) => {
                tracing::warn!(?error, "the journal cannot be read");
                self.is_interrupted = true;
                self.settle(now + RETRY_WAIT);
            }
        }
    }

    /// The journal's head was read, or could not be. INTERNAL when it is another journal: nothing here is true of
    /// it.
    pub fn head(&mut self, head: Result<JournalHead>, now: Instant) -> Result<()> {
        match head {
            Ok(head) if head.id != self.journal => {
                return Err(Error::internal("the journal was given a new identity: start this process anew"));
            }
            Ok(head) => {
                metrics::gauge!("messenger_feed_lag_positions").set((head.last.0 - self.position.0).max(0) as f64);
                self.gap_to = self.gap_to.max(head.last);
                self.settle(now + GAP_WAIT);
            }
            Err(error) => tracing::warn!(?error, "the head of the journal cannot be read"),
        }
        Ok(())
    }

    /// A follower came, or asks for something: perhaps memberships are to be read for it.
    pub fn command(&mut self, command: Command) -> Option<Snapshot> {
        match command {
            Command::Open(id, queue) => self.followers.open(id, queue, self.position),
            Command::Remove(id, users) => self.followers.remove(id, &users),
            Command::Add(id, users) => {
                let ticket = self.followers.begin(id, &users)?;
                return Some(Snapshot { ticket, users });
            }
        }
        None
    }

    /// Memberships were read, or could not be.
    pub fn snapshot(&mut self, ticket: Ticket, followed: Result<Followed>, now: Instant) {
        match followed {
            Ok(followed) => {
                self.gap_to = self.gap_to.max(followed.position);
                self.followers.complete(ticket, followed, self.position);
                self.settle(now + GAP_WAIT);
            }
            Err(error) => {
                tracing::warn!(?error, "memberships cannot be read");
                self.followers.fail(ticket, &error);
            }
        }
    }

    /// A tick: everybody hears where the feed is.
    pub fn heartbeat(&mut self) {
        self.followers.heartbeat(self.position);
        metrics::gauge!("messenger_followers").set(self.followers.count() as f64);
    }

    /// The end: every follower is told why.
    pub fn end(&mut self, error: &Error) {
        self.followers.end_all(error);
    }
}

impl Order {
    fn committed(&mut self, previous: Position, commit: Commit, now: Instant) {
        if commit.last <= self.position {
            return;
        }
        self.gap_to = self.gap_to.max(commit.last);
        if previous <= self.position && commit.batch.is_none() {
            self.due = Some(now);
            return;
        }
        self.early.insert(previous, commit);
        self.catch_up(now);
        if self.early.len() > EARLY_COMMITS_MAX {
            self.early.clear();
        }
    }

    /// Hands out what continues from here.
    fn catch_up(&mut self, now: Instant) {
        while let Some(first) = self.early.first_entry() {
            if first.get().last <= self.position {
                first.remove();
                continue;
            }
            if *first.key() > self.position && !is_seeded(Bug::LostPublication) {
                return;
            }
            let Commit { last, batch } = first.remove();
            match batch {
                Some(batch) => self.hand_out(&batch, last),
                None => self.due = Some(now),
            }
        }
    }

    fn hand_out(&mut self, batch: &EntryBatch, last: Position) {
        self.followers.apply(batch, self.position, last);
        self.position = last;
        self.shown_position.store(last.0, Ordering::Relaxed);
    }

    fn interrupted(&mut self, now: Instant) {
        self.is_interrupted = true;
        self.due = Some(now);
    }

    /// Is something missing? Then the journal is read at `due`, if not before.
    fn settle(&mut self, due: Instant) {
        if self.position >= self.gap_to && !self.is_interrupted {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(due);
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
