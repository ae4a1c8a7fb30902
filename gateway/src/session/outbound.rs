//! What waits to be written to one connection: bounded, so that a client that stops reading is really gone.
//!
//! Over the bound signals are dropped first; then the connection is closed as a slow consumer and resumes
//! from its cursor with nothing lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use messenger_core::{Bug, is_seeded};
use tokio::sync::Notify;

use super::frame::Frame;

/// Frames one connection may have waiting.
pub const FRAMES_MAX: usize = 512;
/// Bytes one connection may have waiting.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Bytes one connection may have on their way to the wire, but for the last of its frames.
const TAKEN_BYTES_MAX: usize = 64 * 1024;
/// Room for waiting frames that a connection keeps when none wait.
const FRAMES_KEPT: usize = 32;
/// Replayed entries are added only below this many waiting frames …
const REPLAY_FRAMES_MAX: usize = FRAMES_MAX / 4;
/// … and this many waiting bytes, so that answers and live events have room beside them.
const REPLAY_BYTES_MAX: usize = BYTES_MAX / 4;

/// Why a connection is closed by this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It did not read fast enough; it resumes.
    SlowConsumer,
    /// Its access token's time is over.
    TokenExpired,
    /// Its session was ended: it must not come back by itself.
    Revoked,
    /// This process is going away; it resumes elsewhere.
    Draining,
    /// It sent far more than it may.
    Flood,
    /// The same client came back on a new connection.
    Replaced,
}

impl CloseReason {
    /// The WebSocket close code of the plain wire.
    #[must_use]
    pub const fn websocket_code(self) -> u16 {
        match self {
            Self::SlowConsumer => 4430,
            Self::TokenExpired => 4401,
            Self::Revoked => 4403,
            Self::Draining => 1012,
            Self::Flood => 4429,
            Self::Replaced => 1000,
        }
    }

    /// A stable word for close frames, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::Flood => "flood",
            Self::Replaced => "replaced",
        }
    }

    /// Whether the client must not reconnect by itself (Socket.IO: a DISCONNECT packet goes first).
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Revoked | Self::Replaced)
    }

    /// Whether what waits is still written before the close.
    const fn keeps_frames(self) -> bool {
        !matches!(self, Self::SlowConsumer) && !self.is_at_once()
    }

    /// Whether the client may hear nothing more: it has no time to read first.
    #[must_use]
    pub const fn is_at_once(self) -> bool {
        matches!(self, Self::Revoked | Self::TokenExpired)
    }
}

/// The queue between whoever has something for a connection and the connection's task.
#[derive(Debug, Default)]
pub struct Outbound {
    queue: Mutex<Queue>,
    readable: Notify,
    attention: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    signals: usize,
    closing: Option<CloseReason>,
    /// The session waits for room to replay into.
    wants_room: bool,
}

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    is_signal: bool,
}

impl Outbound {
    /// Queues a frame that must arrive. Over the bound the connection is closed as a slow consumer.
    pub fn push(&self, frame: Frame) {
        self.add(frame, false);
    }

    /// Queues a frame that may be dropped.
    pub fn push_signal(&self, frame: Frame) {
        self.add(frame, true);
    }

    fn add(&self, frame: Frame, is_signal: bool) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        if !queue.fits(&frame) {
            if is_signal {
                return;
            }
            queue.drop_signals();
        }
        if queue.fits(&frame) {
            queue.push(frame, is_signal);
        } else if !is_seeded(Bug::FullQueueIgnored) {
            queue.close(CloseReason::SlowConsumer);
            self.attention.notify_one();
        }
        drop(queue);
        self.readable.notify_one();
    }

    /// Resolves when there are frames to take, or the connection is to be closed. For one waiter.
    pub async fn ready(&self) {
        loop {
            {
                let queue = self.lock();
                if !queue.frames.is_empty() || queue.closing.is_some() {
                    return;
                }
            }
            self.readable.notified().await;
        }
    }

    /// Takes the oldest frames: at most `frames_max`, and none after 64 KiB.
    #[must_use]
    pub fn take(&self, frames_max: usize) -> Vec<Frame> {
        self.take_within(frames_max, TAKEN_BYTES_MAX)
    }

    /// Takes whatever waits: the last frames of a connection.
    #[must_use]
    pub fn take_rest(&self) -> Vec<Frame> {
        self.take_within(usize::MAX, usize::MAX)
    }

    fn take_within(&self, frames_max: usize, bytes_max: usize) -> Vec<Frame> {
        let mut queue = self.lock();
        let (mut taken, mut bytes) = (Vec::with_capacity(frames_max.min(queue.frames.len())), 0);
        while taken.len() < frames_max && bytes < bytes_max {
            let Some(waiting) = queue.frames.pop_front() else { break };
            bytes += waiting.frame.size();
            queue.signals -= usize::from(waiting.is_signal);
            taken.push(waiting.frame);
        }
        queue.bytes -= bytes;
        if queue.frames.is_empty() {
            queue.frames.shrink_to(FRAMES_KEPT);
        }
        if queue.wants_room && queue.has_room() {
            queue.wants_room = false;
            self.attention.notify_one();
        }
        taken
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Asks for the connection to be closed; the first reason stays.
    pub fn close(&self, reason: CloseReason) {
        self.lock().close(reason);
        self.readable.notify_one();
        self.attention.notify_one();
    }

    /// Why it is to be closed: once nothing is left to take, the transport does it.
    #[must_use]
    pub fn closing(&self) -> Option<CloseReason> {
        self.lock().closing
    }

    /// Whether a replay may add to the queue now; if not, the session gets attention when it may.
    pub(super) fn has_room(&self) -> bool {
        let mut queue = self.lock();
        let has_room = queue.has_room();
        queue.wants_room = !has_room;
        has_room
    }

    /// Wakes the session: its state in the hub changed, or an answer made room for requests.
    pub(super) fn call_attention(&self) {
        self.attention.notify_one();
    }

    /// Resolves when the session is to look at its state. For one waiter.
    pub(super) async fn attention(&self) {
        self.attention.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn fits(&self, frame: &Frame) -> bool {
        self.frames.len() < FRAMES_MAX && self.bytes + frame.size() <= BYTES_MAX
    }

    fn has_room(&self) -> bool {
        self.frames.len() < REPLAY_FRAMES_MAX && self.bytes < REPLAY_BYTES_MAX
    }

    fn push(&mut self, frame: Frame, is_signal: bool) {
        self.bytes += frame.size();
        self.signals += usize::from(is_signal);
        self.frames.push_back(Waiting { frame, is_signal });
    }

    fn drop_signals(&mut self) {
        if self.signals > 0 {
            self.frames.retain(|waiting| !waiting.is_signal);
            self.bytes = self.frames.iter().map(|waiting| waiting.frame.size()).sum();
            self.signals = 0;
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reason);
        if !reason.keeps_frames() {
            self.frames = VecDeque::new();
            (self.bytes, self.signals) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::frame::WireFormat;

    fn frame(bytes: usize) -> Frame {
        Frame::event(WireFormat::Plain, "e", &vec![b'1'; bytes], None)
    }

    #[test]
    fn frames_leave_in_the_order_they_came() {
        let outbound = Outbound::default();
        for bytes in 1..=3 {
            outbound.push(frame(bytes));
        }
        assert_eq!(outbound.take(2), [frame(1), frame(2)]);
        assert_eq!(outbound.take(2), [frame(3)]);
    }

    #[test]
    fn signals_go_first_and_then_the_connection() {
        let outbound = Outbound::default();
        for _ in 0..FRAMES_MAX - 1 {
            outbound.push(frame(1));
        }
        outbound.push_signal(frame(2));
        outbound.push_signal(frame(2));
        assert_eq!(outbound.closing(), None);
        outbound.push(frame(3));
        assert_eq!(outbound.closing(), None, "a signal made room");
        outbound.push(frame(1));
        assert_eq!(outbound.closing(), Some(CloseReason::SlowConsumer));
        assert!(outbound.take(FRAMES_MAX).is_empty(), "what waited is resumed, not written");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let outbound = Outbound::default();
        outbound.push(frame(BYTES_MAX / 2));
        outbound.push(frame(BYTES_MAX / 2));
        assert_eq!(outbound.closing(), Some(CloseReason::SlowConsumer));
    }

    #[test]
    fn what_is_on_its_way_is_bounded_too() {
        let outbound = Outbound::default();
        for _ in 0..6 {
            outbound.push(frame(TAKEN_BYTES_MAX / 4));
        }
        assert_eq!(outbound.take(9).len(), 4);
        assert_eq!(outbound.bytes(), 2 * frame(TAKEN_BYTES_MAX / 4).size());
        assert_eq!(outbound.take_rest().len(), 2);
        outbound.push(frame(2 * TAKEN_BYTES_MAX));
        assert_eq!(outbound.take(9).len(), 1, "a large one goes alone");
    }

    #[test]
    fn the_first_reason_to_close_stays_and_nothing_is_added() {
        let outbound = Outbound::default();
        outbound.push(frame(1));
        outbound.close(CloseReason::Draining);
        outbound.close(CloseReason::Revoked);
        outbound.push(frame(2));
        assert_eq!(outbound.closing(), Some(CloseReason::Draining));
        assert_eq!(outbound.take(9), [frame(1)]);
    }

    #[tokio::test]
    async fn a_reader_makes_room_for_the_replay() {
        let outbound = Outbound::default();
        for _ in 0..REPLAY_FRAMES_MAX {
            outbound.push(frame(1));
        }
        assert!(!outbound.has_room());
        outbound.ready().await;
        assert_eq!(outbound.take(1).len(), 1);
        outbound.attention().await;
        assert!(outbound.has_room());
    }
}
