//! The feed: every entry once and in order to those it concerns, as it is committed.

mod followers;
mod order;
mod queue;
mod sequencer;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use messenger_core::{Cursor, Error, JournalId, Position, Result, UserId};
use tokio::sync::mpsc;

use self::{
    followers::FollowerId,
    queue::{FOLLOWER_BYTES_MAX, Queue, SUBSCRIBER_BYTES_MAX},
};

use crate::model::JournalHead;

pub use self::{
    order::{Order, Snapshot},
    queue::{Chosen, FeedEvent},
    sequencer::Sequencer,
};

/// Commands waiting for the sequencer.
const COMMANDS_QUEUED_MAX: usize = 256;
/// Users of one snapshot.
const USERS_PER_SNAPSHOT_MAX: usize = 1_000;

/// Where followers come from.
#[derive(Clone)]
pub struct Feed {
    journal: JournalId,
    position: Arc<AtomicI64>,
    commands: mpsc::Sender<Command>,
    next_id: Arc<AtomicU64>,
}

/// What followers want of the feed.
pub enum Command {
    /// To hear it.
    Open(FollowerId, Arc<Queue>),
    /// To hear of these users too.
    Add(FollowerId, Vec<UserId>),
    /// To hear of them no more.
    Remove(FollowerId, Vec<UserId>),
}

impl Feed {
    /// The feed from `head` on: for those who follow, and what they want of the order that feeds them.
    #[must_use]
    pub fn new(head: JournalHead) -> (Self, mpsc::Receiver<Command>, Order) {
        let (sender, commands) = mpsc::channel(COMMANDS_QUEUED_MAX);
        let position = Arc::new(AtomicI64::new(head.last.0));
        let order = Order::new(head, Arc::clone(&position));
        (Self { journal: head.id, position, commands: sender, next_id: Arc::new(AtomicU64::new(1)) }, commands, order)
    }

    /// The journal it follows.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        self.journal
    }

    /// Everything up to here was handed to the followers.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position.load(Ordering::Relaxed))
    }

    /// This position as a cursor.
    #[must_use]
    pub fn cursor(&self, position: Position) -> Cursor {
        Cursor { journal: self.journal, position }
    }

    /// Follows nobody yet; any number of users may be.
    ///
    /// # Errors
    /// UNAVAILABLE when the feed has ended.
    pub async fn follow(&self) -> Result<Follower> {
        self.open(FOLLOWER_BYTES_MAX).await
    }

    /// Follows one user, of whom less may wait.
    ///
    /// # Errors
    /// UNAVAILABLE when the feed has ended.
    pub async fn follow_one(&self, user: UserId) -> Result<Events> {
        let Follower { asks, events } = self.open(SUBSCRIBER_BYTES_MAX).await?;
        asks.add(&[user]).await?;
        Ok(events)
    }

    async fn open(&self, queue_bytes_max: usize) -> Result<Follower> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(queue_bytes_max));
        let follower = Follower {
            asks: Asks { id, commands: self.commands.clone(), queue: Arc::clone(&queue) },
            events: Events(queue),
        };
        follower.asks.ask(Command::Open(id, Arc::clone(&follower.events.0))).await?;
        Ok(follower)
    }
}

/// One who follows the feed. Gone when its events are dropped.
pub struct Follower {
    /// Whom it follows.
    pub asks: Asks,
    /// What it hears.
    pub events: Events,
}

/// Says whom to follow.
pub struct Asks {
    id: FollowerId,
    commands: mpsc::Sender<Command>,
    queue: Arc<Queue>,
}

impl Asks {
    /// Follows these users too; each is answered by [`FeedEvent::UserFollowed`].
    ///
    /// # Errors
    /// UNAVAILABLE when the feed has ended.
    pub async fn add(&self, users: &[UserId]) -> Result<()> {
        for users in users.chunks(USERS_PER_SNAPSHOT_MAX) {
            self.ask(Command::Add(self.id, users.to_vec())).await?;
        }
        Ok(())
    }

    /// Follows these users no more.
    ///
    /// # Errors
    /// UNAVAILABLE when the feed has ended.
    pub async fn remove(&self, users: Vec<UserId>) -> Result<()> {
        self.ask(Command::Remove(self.id, users)).await
    }

    /// Ends the follower with this error.
    pub fn end(&self, error: Error) {
        self.queue.end(error);
    }

    /// Waits until the follower is ended or gone.
    pub async fn ended(&self) {
        self.queue.ended().await;
    }

    async fn ask(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| Error::unavailable("the feed has ended"))
    }
}

/// What a follower hears, in order.
pub struct Events(Arc<Queue>);

impl Events {
    /// The next event; none after the end. May be cancelled without losing one.
    ///
    /// # Errors
    /// RATE_LIMITED when it read too slowly, DRAINING when this process ends: it continues from its position.
    pub async fn next(&self) -> Option<Result<FeedEvent>> {
        self.0.next().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.close();
    }
}
