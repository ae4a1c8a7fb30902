//! A few at a time of each user, the others in line: whoever asks for much waits for itself and not before everybody.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use messenger_core::{Error, ErrorKind, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long anybody waits for its turn.
pub const TURN_WITHIN: Duration = Duration::from_secs(5);
/// When one that had no turn may try again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Turns, by key. A key nobody asks for takes no memory.
#[derive(Debug)]
pub struct Turns<K> {
    at_once_max: usize,
    in_line_max: usize,
    lines: Mutex<HashMap<K, Line>>,
}

#[derive(Debug)]
struct Line {
    free: Arc<Semaphore>,
    /// Who has its turn or waits for it.
    present: usize,
}

/// A turn; the next in line has it when this is dropped.
#[derive(Debug)]
pub struct Turn<K: Copy + Eq + Hash> {
    _permit: OwnedSemaphorePermit,
    _place: Place<K>,
}

#[derive(Debug)]
struct Place<K: Copy + Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Of each key so many have their turn at once, and so many more may wait.
    #[must_use]
    pub fn new(at_once_max: usize, in_line_max: usize) -> Arc<Self> {
        Arc::new(Self { at_once_max, in_line_max, lines: Mutex::default() })
    }

    /// The key's next turn, in the order of coming. May be dropped while it waits.
    ///
    /// # Errors
    /// RATE_LIMITED when too many of this key wait, or its turn does not come within [`TURN_WITHIN`].
    pub async fn turn(self: &Arc<Self>, key: K) -> Result<Turn<K>> {
        let (free, place) = self.stand_in_line(key).ok_or_else(busy)?;
        let permit = timeout(TURN_WITHIN, free.acquire_owned()).await.map_err(|_| busy())?;
        Ok(Turn { _permit: permit.expect("it is never closed"), _place: place })
    }

    fn stand_in_line(self: &Arc<Self>, key: K) -> Option<(Arc<Semaphore>, Place<K>)> {
        let mut lines = self.lock();
        let new = || Line { free: Arc::new(Semaphore::new(self.at_once_max)), present: 0 };
        let line = lines.entry(key).or_insert_with(new);
        if line.present >= self.at_once_max + self.in_line_max {
            return None;
        }
        line.present += 1;
        Some((Arc::clone(&line.free), Place { turns: Arc::clone(self), key }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut lines = self.turns.lock();
        let Some(line) = lines.get_mut(&self.key) else { return };
        line.present -= 1;
        if line.present == 0 {
            lines.remove(&self.key);
        }
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::RateLimited, "too many calls of this user at once").with_retry_after(AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_for_itself_only() {
        let turns = Turns::new(1, 2);
        let first = turns.turn("ann").await.expect("free");
        let mut waiting = [Box::pin(turns.turn("ann")), Box::pin(turns.turn("ann"))];
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert_eq!(turns.turn("ann").await.expect_err("two wait").kind(), ErrorKind::RateLimited);
        turns.turn("bob").await.expect("another key");

        let [second, third] = waiting;
        drop(first);
        let second = second.await.expect("its turn");
        assert_eq!(third.await.expect_err("not in time").kind(), ErrorKind::RateLimited);
        drop(second);
        assert!(turns.lock().is_empty(), "{turns:?}");
    }
}
