//! The task behind the feed: waits for what concerns its [`Order`] and reads what that asks for. Reads run in tasks of
//! their own, so that a slow store holds up nothing that is already here.

use std::{sync::Arc, time::Duration};

use messenger_bus::{BusReceiver, EventBus};
use messenger_core::{Error, ErrorKind, Result};
use messenger_db::run;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Command, Feed, Order, followers::Ticket, order::Snapshot};
use crate::{
    batch::EntryBatch,
    model::{Followed, JournalHead, JournalPage},
    store::Store,
};

/// How often the head is read and a follower hears something. What the bus loses last is found within it, which is to
/// be less than a second with the reading.
const TICK: Duration = Duration::from_millis(500);
/// Entries read from the journal at once.
const JOURNAL_PAGE_ENTRIES: u32 = 1_000;
/// Snapshots of memberships read at once.
const SNAPSHOTS_MAX: usize = 4;

/// The task that hands out entries.
pub struct Sequencer {
    order: Order,
    store: Arc<dyn Store>,
    bus: BusReceiver<EntryBatch>,
    commands: mpsc::Receiver<Command>,
    tracker: TaskTracker,
    page: Option<JoinHandle<Result<JournalPage>>>,
    head: Option<JoinHandle<Result<JournalHead>>>,
    snapshots: JoinSet<(Ticket, Result<Followed>)>,
}

impl Sequencer {
    /// The feed from `head` on, and the task it needs.
    pub fn new(
        store: Arc<dyn Store>,
        bus: &dyn EventBus<EntryBatch>,
        head: JournalHead,
        tracker: TaskTracker,
    ) -> (Feed, Self) {
        let (feed, commands, order) = Feed::new(head);
        let (bus, snapshots) = (bus.subscribe(), JoinSet::new());
        (feed, Self { order, store, bus, commands, tracker, page: None, head: None, snapshots })
    }

    /// Hands out entries until `cancel`; then every follower is sent elsewhere.
    ///
    /// # Errors
    /// INTERNAL when it cannot go on: the journal is another one, the bus has ended.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Ok(());
        while ended.is_ok() && !cancel.is_cancelled() {
            ended = self.step(&cancel, &mut ticks).await;
        }
        // They end by themselves: no read of the store is dropped.
        self.snapshots.detach_all();
        self.order.end(&Error::new(ErrorKind::Draining, "this process ends: follow another one"));
        ended
    }

    /// One thing that happens.
    async fn step(&mut self, cancel: &CancellationToken, ticks: &mut Interval) -> Result<()> {
        let due = self.order.due();
        let may_snapshot = self.snapshots.len() < SNAPSHOTS_MAX;
        tokio::select! {
            () = cancel.cancelled() => {}
            received = self.bus.receive() => match received {
                Some(received) => self.order.received(received, Instant::now()),
                None if cancel.is_cancelled() => {}
                None => return Err(Error::internal("the bus has ended")),
            },
            Some(command) = self.commands.recv(), if may_snapshot => self.command(command),
            Some(snapshot) = self.snapshots.join_next() => {
                // Nothing is left in it that panics, and nobody ends it.
                let (ticket, followed) = snapshot.map_err(Error::internal)?;
                self.order.snapshot(ticket, followed, Instant::now());
            }
            page = finished(&mut self.page) => self.order.page(page, Instant::now()),
            head = finished(&mut self.head) => return self.order.head(head, Instant::now()),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.read_journal(),
            _ = ticks.tick() => self.tick(),
        }
        Ok(())
    }

    fn read_journal(&mut self) {
        let (store, after) = (Arc::clone(&self.store), self.order.begin_reading());
        self.page = Some(self.tracker.spawn(async move { store.read_journal(after, JOURNAL_PAGE_ENTRIES).await }));
    }

    fn tick(&mut self) {
        self.order.heartbeat();
        if self.head.is_none() {
            let store = Arc::clone(&self.store);
            self.head = Some(self.tracker.spawn(async move { store.journal().await }));
        }
    }

    fn command(&mut self, command: Command) {
        if let Some(Snapshot { ticket, users }) = self.order.command(command) {
            let store = Arc::clone(&self.store);
            // A read that panics is one that failed: whoever waits for the ticket hears of it.
            let read = async move { (ticket, run(async move { store.follow(&users).await }).await) };
            self.snapshots.spawn(self.tracker.track_future(read));
        }
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
