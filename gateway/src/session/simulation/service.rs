//! A message process: its feed, and the reads of the store and publications of the bus on their way to it.

use std::collections::VecDeque;

use messenger_bus::{Publication, Received};
use messenger_core::{Error, ErrorKind, Position};
use messenger_message::{
    EntryBatch,
    feed::{Command, Feed, Order, Snapshot},
    model::{Followed, JournalHead, JournalPage},
};
use tokio::{sync::mpsc, time::Instant};

use super::{journal::Journal, random::Random};

pub(super) struct Service {
    pub(super) feed: Feed,
    order: Order,
    commands: mpsc::Receiver<Command>,
    bus: VecDeque<Received<EntryBatch>>,
    page: Option<Read<Position, JournalPage>>,
    head: Option<Read<(), JournalHead>>,
    snapshots: Vec<Read<Snapshot, (Snapshot, Followed)>>,
}

/// A read of the store: what it saw may be old when it arrives.
enum Read<Q, A> {
    Asked(Q),
    Answered(A),
}

impl Service {
    pub(super) fn start(journal: &Journal) -> Self {
        let (feed, commands, order) = Feed::new(journal.head());
        let (bus, snapshots) = (VecDeque::new(), Vec::new());
        Self { feed, order, commands, bus, page: None, head: None, snapshots }
    }

    /// The bus takes a publication to this process, or loses it.
    pub(super) fn publish(&mut self, publication: &Publication<EntryBatch>, lost_percent: usize, random: &mut Random) {
        if random.percent(lost_percent) {
            if random.percent(30) {
                self.bus.push_back(Received::Interrupted);
            }
            return;
        }
        let mut publication = publication.clone();
        if let Publication::Entries { batch, .. } = &mut publication
            && random.percent(10)
        {
            *batch = None;
        }
        if random.percent(5) {
            self.bus.push_back(Received::Publication(publication.clone()));
        }
        let place = if random.percent(15) { random.below(self.bus.len() + 1) } else { self.bus.len() };
        self.bus.insert(place, Received::Publication(publication));
    }

    /// One thing that happens to it. False when it ends itself.
    pub(super) fn step(&mut self, journal: &Journal, now: Instant, random: &mut Random) -> bool {
        match random.below(20) {
            0 => self.order.heartbeat(),
            1 => self.fail(now, random),
            first if (0..4).any(|next| self.act(first + next, journal, now, random)) => {}
            _ => return self.look_at_head(journal, now),
        }
        true
    }

    /// Everything that can happen does. False when it ends itself.
    pub(super) fn settle(&mut self, journal: &Journal, now: Instant, random: &mut Random) -> bool {
        while (0..4).any(|action| self.act(action, journal, now, random)) {}
        self.order.heartbeat();
        (0..3).all(|_| self.look_at_head(journal, now))
    }

    fn act(&mut self, action: usize, journal: &Journal, now: Instant, random: &mut Random) -> bool {
        match action % 4 {
            0 => self.receive(now),
            1 => self.read(journal, now),
            2 => self.command(),
            _ => self.snapshot(journal, now, random),
        }
    }

    /// It is told to end.
    pub(super) fn drain(&mut self) {
        self.order.end(&Error::new(ErrorKind::Draining, "going away"));
    }

    fn receive(&mut self, now: Instant) -> bool {
        let received = self.bus.pop_front();
        received.map(|received| self.order.received(received, now)).is_some()
    }

    fn read(&mut self, journal: &Journal, now: Instant) -> bool {
        match self.page.take() {
            Some(Read::Asked(after)) => self.page = Some(Read::Answered(journal.read(after))),
            Some(Read::Answered(page)) => self.order.page(Ok(page), now),
            None if self.order.due().is_some_and(|due| due <= now) => {
                self.page = Some(Read::Asked(self.order.begin_reading()));
            }
            None => return false,
        }
        true
    }

    fn command(&mut self) -> bool {
        let Ok(command) = self.commands.try_recv() else { return false };
        self.snapshots.extend(self.order.command(command).map(Read::Asked));
        true
    }

    fn snapshot(&mut self, journal: &Journal, now: Instant, random: &mut Random) -> bool {
        if self.snapshots.is_empty() {
            return false;
        }
        match self.snapshots.swap_remove(random.below(self.snapshots.len())) {
            Read::Asked(snapshot) => {
                let followed = journal.follow(&snapshot.users);
                self.snapshots.push(Read::Answered((snapshot, followed)));
            }
            Read::Answered((snapshot, followed)) => self.order.snapshot(snapshot.ticket, Ok(followed), now),
        }
        true
    }

    fn look_at_head(&mut self, journal: &Journal, now: Instant) -> bool {
        match self.head.take() {
            None => self.head = Some(Read::Asked(())),
            Some(Read::Asked(())) => self.head = Some(Read::Answered(journal.head())),
            Some(Read::Answered(head)) => return self.order.head(Ok(head), now).is_ok(),
        }
        true
    }

    /// A read fails.
    fn fail(&mut self, now: Instant, random: &mut Random) {
        let error = Err(Error::unavailable("the database is away"));
        if self.page.take().is_some() {
            self.order.page(error, now);
        } else if random.percent(20)
            && let Some(Read::Asked(_)) = self.snapshots.last()
            && let Some(Read::Asked(snapshot)) = self.snapshots.pop()
        {
            self.order.snapshot(snapshot.ticket, Err(Error::unavailable("the database is away")), now);
        }
    }
}
