//! What waits for one follower: bounded by bytes, thrown away when it overflows.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use messenger_core::{ConversationId, Error, ErrorKind, Position, Result, UserId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::batch::SharedEntry;

/// Bytes waiting for one follower, as counted by [`FeedEvent::weight`]: a gateway follows thousands of users …
pub(crate) const FOLLOWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// … and who subscribes follows one, and may be anybody.
pub(crate) const SUBSCRIBER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What anything costs beside its text.
const EVENT_BYTES: usize = 64;
const ID_BYTES: usize = 16;

/// What a follower hears.
#[derive(Debug)]
pub enum FeedEvent {
    /// First of all: where the feed is.
    Welcome(Position),
    /// Entries of this user's conversations above the position follow.
    UserFollowed {
        /// The user.
        user: UserId,
        /// What lies at or below it comes by replay.
        position: Position,
        /// Where the user took part at that position.
        conversations: Vec<ConversationId>,
    },
    /// Entries that concern the follower.
    Entries(Chosen),
    /// An encoded signal that concerns it.
    Signal(Bytes),
    /// At least every second: the feed is here.
    Heartbeat(Position),
}

/// The entries of a batch that concern a follower.
#[derive(Debug)]
pub struct Chosen {
    /// In the order of their positions.
    pub entries: Vec<Arc<SharedEntry>>,
    /// Everything up to here has been sent.
    pub position: Position,
}

impl FeedEvent {
    /// Bytes it keeps from being freed, about.
    fn weight(&self) -> usize {
        match self {
            Self::Welcome(_) | Self::Heartbeat(_) => EVENT_BYTES,
            Self::UserFollowed { conversations, .. } => EVENT_BYTES + ID_BYTES * conversations.len(),
            Self::Entries(chosen) => EVENT_BYTES + chosen.entries.iter().map(|entry| entry.bytes()).sum::<usize>(),
            Self::Signal(encoded) => EVENT_BYTES + encoded.len(),
        }
    }
}

/// Between the feed and one follower.
#[derive(Debug)]
pub struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
    ready: Notify,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<FeedEvent>,
    bytes: usize,
    end: End,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    /// The follower is still to be told.
    Ending(Error),
    Ended,
}

impl Queue {
    /// For so many bytes; signals are dropped when more than half of it waits.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (state, ready, ended) = (Mutex::default(), Notify::new(), CancellationToken::new());
        Self { bytes_max, state, ready, ended }
    }

    /// Adds an event. False when the follower is gone or too slow: then it is ended.
    pub(crate) fn push(&self, event: FeedEvent) -> bool {
        let weight = event.weight();
        let mut state = self.lock();
        if !matches!(state.end, End::Open) {
            return false;
        }
        if matches!(event, FeedEvent::Signal(_)) && state.bytes + weight > self.bytes_max / 2 {
            return true;
        }
        // What one commit brings is there anyway, however large: a queue that is empty takes it.
        if state.bytes > 0 && state.bytes + weight > self.bytes_max {
            drop(state);
            metrics::counter!("messenger_followers_overflowed_total").increment(1);
            self.end(Error::new(ErrorKind::RateLimited, "reads too slowly: continue from the last position"));
            return false;
        }
        state.bytes += weight;
        state.events.push_back(event);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// Ends the follower; what waits is thrown away.
    pub(crate) fn end(&self, error: Error) {
        let mut state = self.lock();
        if matches!(state.end, End::Open) {
            *state = State { end: End::Ending(error), ..State::default() };
        }
        drop(state);
        self.ended.cancel();
        self.ready.notify_one();
    }

    /// The follower is gone.
    pub(crate) fn close(&self) {
        *self.lock() = State { end: End::Ended, ..State::default() };
        self.ended.cancel();
    }

    /// Waits for either.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// The next event, for the one who follows. None after the end. May be cancelled without losing an event.
    pub(crate) async fn next(&self) -> Option<Result<FeedEvent>> {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.ready.notified().await;
        }
    }

    /// None when there is nothing yet.
    fn take(&self) -> Option<Option<Result<FeedEvent>>> {
        let mut state = self.lock();
        match std::mem::take(&mut state.end) {
            End::Ended => {
                state.end = End::Ended;
                return Some(None);
            }
            End::Ending(error) => {
                state.end = End::Ended;
                return Some(Some(Err(error)));
            }
            End::Open => {}
        }
        let event = state.events.pop_front()?;
        state.bytes = state.bytes.saturating_sub(event.weight());
        Some(Some(Ok(event)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_order_and_counted() {
        let queue = Queue::new(FOLLOWER_BYTES_MAX);
        for n in 0..3 {
            assert!(queue.push(FeedEvent::Heartbeat(Position(n))));
        }
        for n in 0..3 {
            let Some(Ok(FeedEvent::Heartbeat(position))) = queue.next().await else { panic!("a heartbeat") };
            assert_eq!(position, Position(n));
        }
        assert_eq!(queue.lock().bytes, 0);
    }

    #[tokio::test]
    async fn overflow_ends_the_follower_and_frees_what_waits() {
        let queue = Queue::new(FOLLOWER_BYTES_MAX);
        let user = UserId::from_uuid(uuid::Uuid::nil());
        let conversations = vec![ConversationId::from_uuid(uuid::Uuid::nil()); 5_000];
        let event = || FeedEvent::UserFollowed { user, position: Position(0), conversations: conversations.clone() };
        while queue.push(event()) {}
        assert_eq!(queue.lock().bytes, 0);
        let error = queue.next().await.expect("told").expect_err("the end");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(queue.next().await.is_none() && !queue.push(event()));
    }

    #[test]
    fn signals_go_first() {
        let queue = Queue::new(FOLLOWER_BYTES_MAX);
        let signal = || FeedEvent::Signal(Bytes::from(vec![0; 1024 * 1024]));
        for _ in 0..100 {
            assert!(queue.push(signal()), "dropped, not ended");
        }
        assert!(queue.lock().bytes <= FOLLOWER_BYTES_MAX / 2);
    }

    #[test]
    fn an_event_larger_than_the_bound_is_taken_by_an_empty_queue() {
        let queue = Queue::new(FOLLOWER_BYTES_MAX);
        let conversations = vec![ConversationId::from_uuid(uuid::Uuid::nil()); FOLLOWER_BYTES_MAX / ID_BYTES + 1];
        let user = UserId::from_uuid(uuid::Uuid::nil());
        assert!(queue.push(FeedEvent::UserFollowed { user, position: Position(0), conversations }));
        assert!(!queue.push(FeedEvent::Heartbeat(Position(0))), "ended");
    }
}
