//! What a user missed: by pages after a cursor, or as the beginning of a subscription.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use messenger_core::{ConversationId, Cursor, Error, ErrorKind, Position, Result, UserId, limits};
use messenger_rpc::{TURN_WITHIN, Turn, Turns};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    feed::{Events, Feed, FeedEvent},
    model::{Entry, MissedMessages, ReplayPage},
    pieces::{entry_bytes, fitting},
    store::Store,
};

/// Entries on a page at most: fewer than may be missed of one conversation.
pub const PAGE_ENTRIES_MAX: u32 = 500;
/// Entries on a page nobody gave a size for.
pub const PAGE_ENTRIES_DEFAULT: u32 = 200;

/// So many positions behind the head a page is read at once; further behind it is asked first how much was missed, for
/// the page would be chosen from all of it.
const NEAR_POSITIONS: i64 = 50_000;
/// Replays of one user that wait for the one being read: more than its connections to one gateway are.
const WAITING_PER_USER_MAX: usize = 32;

/// Replays what users missed. A page may be looked for in thousands of conversations: one is read at a time for each user,
/// and never so many that histories and lists find no reader of the store.
#[derive(Clone)]
pub struct Replays {
    store: Arc<dyn Store>,
    feed: Feed,
    turns: Arc<Turns<UserId>>,
    reading: Arc<Semaphore>,
}

/// What a replay leaves out.
#[derive(Debug, Clone)]
pub enum LeftOut {
    /// To be found: this is the first page.
    Unknown,
    /// These, as the first page said.
    Conversations(Vec<ConversationId>),
}

/// A page, and the conversations left out of the replay if it is the first one.
#[derive(Debug)]
pub struct Page {
    /// What was missed.
    pub page: ReplayPage,
    /// Where too much was missed.
    pub limited: Vec<MissedMessages>,
}

impl Replays {
    /// From the store; the feed knows the journal.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, feed: Feed) -> Self {
        let reading = Arc::new(Semaphore::new(replays_at_once(store.readers())));
        Self { store, feed, turns: Turns::new(1, WAITING_PER_USER_MAX), reading }
    }

    /// The position a cursor names.
    ///
    /// # Errors
    /// CURSOR_INVALID; RESYNC_REQUIRED when it is of another journal.
    pub fn position(&self, cursor: &str) -> Result<Position> {
        let cursor = Cursor::decode(cursor)?;
        if cursor.journal == self.feed.journal() { Ok(cursor.position) } else { Err(foreign()) }
    }

    /// What `user` missed after `after`, at most `entries` and about 1 MiB of it.
    ///
    /// One statement for whoever missed no more than a page: nothing has to be left out of that.
    ///
    /// # Errors
    /// RESYNC_REQUIRED when `after` is above the journal's head, or more than 10,000 entries were missed beside the
    /// conversations left out; RATE_LIMITED when too many replays of the user wait, UNAVAILABLE when too many of all do.
    pub async fn page(&self, user: UserId, after: Position, left_out: LeftOut, entries: u32) -> Result<Page> {
        let _turn = self.turn(user).await?;
        let (mut page, limited) = match left_out {
            LeftOut::Conversations(excluded) => (self.replay(user, after, &excluded, entries).await?, Vec::new()),
            LeftOut::Unknown => self.first_page(user, after, entries).await?,
        };
        let fit = fitting(&page.entries, entry_bytes);
        if fit < page.entries.len() {
            page.entries.truncate(fit);
            page.complete_to = page.entries.last().map_or(after, |entry| entry.position);
            page.has_more = true;
        }
        metrics::counter!("messenger_replay_pages_total").increment(1);
        Ok(Page { page, limited })
    }

    /// Its own turn first: of those who wait for a reader each is another user. Both within 5 s, which leaves the call
    /// time to read.
    async fn turn(&self, user: UserId) -> Result<(Turn<UserId>, OwnedSemaphorePermit)> {
        let both = async {
            let own = self.turns.turn(user).await?;
            let reader = Arc::clone(&self.reading).acquire_owned().await;
            Ok((own, reader.expect("it is never closed")))
        };
        timeout(TURN_WITHIN, both).await.map_err(|_| Error::unavailable("too many replays at once"))?
    }

    /// Looks at what was missed before or after the page: after it only where little can have been.
    async fn first_page(
        &self,
        user: UserId,
        after: Position,
        entries: u32,
    ) -> Result<(ReplayPage, Vec<MissedMessages>)> {
        let mut near = None;
        if self.feed.position().0 - after.0 <= NEAR_POSITIONS {
            let page = self.replay(user, after, &[], entries).await?;
            if !page.has_more {
                return Ok((page, Vec::new()));
            }
            near = Some(page);
        }
        let limited = self.limited(user, after).await?;
        let excluded: Vec<_> = limited.iter().map(|missed| missed.conversation_id).collect();
        let page = match near {
            Some(page) if excluded.is_empty() => page,
            _ => self.replay(user, after, &excluded, entries).await?,
        };
        Ok((page, limited))
    }

    async fn replay(
        &self,
        user: UserId,
        after: Position,
        excluded: &[ConversationId],
        entries: u32,
    ) -> Result<ReplayPage> {
        let page = self.store.replay(user, after, excluded, entries).await?;
        if page.complete_to < after { Err(foreign()) } else { Ok(page) }
    }

    /// Conversations in which too much was missed to be replayed.
    async fn limited(&self, user: UserId, after: Position) -> Result<Vec<MissedMessages>> {
        let missed = self.store.missed(user, after).await?;
        let is_limited = |of: &MissedMessages| of.messages > limits::REPLAY_MESSAGES_PER_CONVERSATION_MAX;
        let limited: Vec<_> = missed.conversations.into_iter().filter(is_limited).collect();
        let left_out: i64 = limited.iter().map(|of| of.messages).sum();
        if missed.entries - left_out > limits::REPLAY_ENTRIES_MAX {
            return Err(resync("too much was missed"));
        }
        Ok(limited)
    }

    /// The user's feed from a cursor on, or from now on.
    ///
    /// # Errors
    /// As [`Replays::position`], and RESYNC_REQUIRED when more than 10,000 entries were missed; RATE_LIMITED and
    /// UNAVAILABLE as [`Replays::page`]. A cursor above the journal's head ends the subscription with it.
    pub async fn subscribe(&self, user: UserId, cursor: &str) -> Result<Subscription> {
        let after = match cursor {
            "" => None,
            cursor => Some(self.position(cursor)?),
        };
        if let Some(after) = after {
            let _turn = self.turn(user).await?;
            if self.store.missed(user, after).await?.entries > limits::REPLAY_ENTRIES_MAX {
                return Err(resync("too much was missed"));
            }
        }
        let events = self.feed.follow_one(user).await?;
        Ok(Subscription {
            replays: self.clone(),
            user,
            phase: Phase::Beginning { after },
            ready: VecDeque::new(),
            events,
        })
    }
}

/// Three of four: of few, too, one is left.
fn replays_at_once(readers: usize) -> usize {
    (readers - readers.div_ceil(4)).max(1)
}

fn foreign() -> Error {
    resync("the cursor is of another journal")
}

fn resync(message: &'static str) -> Error {
    Error::new(ErrorKind::ResyncRequired, message)
}

/// One user's feed: what it missed, then what happens.
pub struct Subscription {
    replays: Replays,
    user: UserId,
    phase: Phase,
    ready: VecDeque<Subscribed>,
    events: Events,
}

/// What a subscriber hears.
#[derive(Debug)]
pub enum Subscribed {
    /// An entry.
    Entry(Entry),
    /// The replay is over; everything up to here was sent.
    CaughtUp(Position),
    /// An encoded signal.
    Signal(Bytes),
}

enum Phase {
    /// The user is not followed yet.
    Beginning {
        after: Option<Position>,
    },
    /// Everything up to `sent` was sent.
    Replaying {
        sent: Position,
    },
    Live {
        sent: Position,
    },
}

impl Subscription {
    /// What comes next; none after the end.
    ///
    /// # Errors
    /// RATE_LIMITED when it is read too slowly or too many replays of the user wait, DRAINING when this process ends, those
    /// of the store.
    pub async fn next(&mut self) -> Option<Result<Subscribed>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Some(Ok(next));
            }
            let step = match self.phase {
                Phase::Replaying { sent } => self.replay(sent).await,
                Phase::Beginning { .. } | Phase::Live { .. } => match self.events.next().await? {
                    Ok(event) => {
                        self.hear(event);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = step {
                return Some(Err(error));
            }
        }
    }

    /// In a task of its own: the subscriber may leave at any time, a read of the store is never dropped.
    async fn replay(&mut self, after: Position) -> Result<()> {
        let (replays, user) = (self.replays.clone(), self.user);
        let nothing = LeftOut::Conversations(Vec::new());
        let read = async move { replays.page(user, after, nothing, PAGE_ENTRIES_MAX).await };
        let page = messenger_db::run(read).await?.page;
        self.ready.extend(page.entries.into_iter().map(Subscribed::Entry));
        self.phase = Phase::Replaying { sent: page.complete_to };
        if !page.has_more {
            self.caught_up(page.complete_to);
        }
        Ok(())
    }

    fn caught_up(&mut self, sent: Position) {
        self.ready.push_back(Subscribed::CaughtUp(sent));
        self.phase = Phase::Live { sent };
    }

    /// What is followed overlaps with what was replayed: the same position is sent once.
    fn hear(&mut self, event: FeedEvent) {
        match (event, &self.phase) {
            (FeedEvent::UserFollowed { position, .. }, Phase::Beginning { after: None }) => self.caught_up(position),
            (FeedEvent::UserFollowed { .. }, Phase::Beginning { after: Some(after) }) => {
                self.phase = Phase::Replaying { sent: *after };
            }
            (FeedEvent::Entries(chosen), Phase::Live { sent }) => {
                let new = chosen.entries.iter().filter(|entry| entry.position > *sent);
                self.ready.extend(new.map(|entry| Subscribed::Entry(Entry::clone(entry))));
                self.phase = Phase::Live { sent: chosen.position.max(*sent) };
            }
            (FeedEvent::Signal(encoded), Phase::Live { .. }) => self.ready.push_back(Subscribed::Signal(encoded)),
            _ => {}
        }
    }
}
