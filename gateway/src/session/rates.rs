//! How often a user may send, and what is a flood of events.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use messenger_core::{Error, UserId};
use messenger_rpc::{Attempts, SendLimits, SendRates};
use tokio::time::Instant;

/// Rates of sends and of events; switched off, everything passes.
pub struct Rates {
    /// Of sends.
    pub sends: Arc<SendLimits>,
    /// Events a second of one connection.
    flood: Option<u64>,
    /// Of calls by REST.
    calls: Option<Attempts<UserId>>,
}

/// A connection whose events come at so many times the rate of its user's sends …
const FLOOD_FACTOR: u32 = 10;
/// … for so many seconds on end floods: it is closed.
const FLOOD_SECONDS: u64 = 10;
/// A pause after a burst counts as so many of these seconds at most, so that a burst alone is none.
const PAUSE_SECONDS_MAX: u64 = 2;
/// As many times its sends a user calls by REST, and after a pause as many at once as in this time. It is a rate already
/// that nobody needs by hand.
const CALLS_TIME: Duration = Duration::from_secs(3);
/// Beyond, a call would have less than a microsecond.
const CALLS_MAX: u32 = 1_000_000;

/// Counts the events of one connection, second by second.
#[derive(Debug)]
pub struct Flood {
    /// None: whatever comes passes.
    per_second_max: Option<u64>,
    began: Instant,
    events: u64,
    seconds: u64,
}

impl Flood {
    fn new(per_second_max: Option<u64>) -> Self {
        Self { per_second_max, began: Instant::now(), events: 0, seconds: 0 }
    }

    /// Counts an event, or whatever else a client sends; false when they are so many that the connection is to be closed.
    pub(crate) fn passes(&mut self) -> bool {
        let Some(per_second_max) = self.per_second_max else { return true };
        let seconds = self.began.elapsed().as_secs();
        if seconds > 0 {
            let is_flood = self.events >= per_second_max * seconds;
            self.seconds = if is_flood {
                self.seconds + seconds.min(PAUSE_SECONDS_MAX)
            } else {
                // A pause counts for what it is: one second does not buy nine.
                self.seconds.saturating_sub(seconds)
            };
            (self.began, self.events) = (Instant::now(), 0);
        }
        self.events += 1;
        self.seconds < FLOOD_SECONDS
    }
}

impl Rates {
    /// `None` switches them off (benchmarks).
    #[must_use]
    pub fn new(rates: Option<SendRates>) -> Self {
        let flood = rates.map(|rates| u64::from(rates.per_user.get()) * u64::from(FLOOD_FACTOR));
        Self { sends: Arc::new(SendLimits::new(rates)), flood, calls: rates.map(calls) }
    }

    /// Counts a call of a user by REST.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub(crate) fn call(&self, user: UserId) -> Result<(), Error> {
        self.calls.as_ref().map_or(Ok(()), |calls| calls.count(&user))
    }

    /// For a new connection.
    pub(crate) fn flood(&self) -> Flood {
        Flood::new(self.flood)
    }
}

fn calls(rates: SendRates) -> Attempts<UserId> {
    let seconds = u32::try_from(CALLS_TIME.as_secs()).expect("few");
    let count = rates.per_user.get().saturating_mul(FLOOD_FACTOR).saturating_mul(seconds).min(CALLS_MAX);
    Attempts::new(NonZeroU32::new(count).expect("a product of what is not zero"), CALLS_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_user: u32) -> Rates {
        let per_user = NonZeroU32::new(per_user).expect("not zero");
        Rates::new(Some(SendRates { per_user, burst_per_user: per_user, per_conversation: per_user }))
    }

    /// Sends bursts of so many events until it is closed; the seconds that took.
    async fn closed_after(burst: u32, pause: Duration) -> Option<u64> {
        let (mut flood, began) = (rates(2).flood(), Instant::now());
        for _ in 0..200 {
            if !(0..burst).all(|_| flood.passes()) {
                return Some(began.elapsed().as_secs());
            }
            tokio::time::advance(pause).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn ten_times_the_rate_for_ten_seconds_is_a_flood() {
        assert_eq!(closed_after(2, Duration::from_millis(100)).await, Some(10));
        assert_eq!(closed_after(1, Duration::from_millis(55)).await, None, "a little below");
        assert_eq!(closed_after(100_000, Duration::from_secs(60)).await, Some(300), "bursts with pauses");
        assert_eq!(closed_after(3_000, Duration::from_secs(200)).await, None, "a burst now and then");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_silence_does_not_buy_nine_of_flood() {
        let mut flood = rates(2).flood();
        let mut floods = async || {
            for _ in 0..9 {
                if !(0..1_000).all(|_| flood.passes()) {
                    return false;
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let is_open = flood.passes();
            tokio::time::advance(Duration::from_secs(1)).await;
            is_open
        };
        assert!(floods().await, "nine seconds are no flood");
        assert!(!floods().await);
    }

    #[test]
    fn off_means_off() {
        let mut flood = Rates::new(None).flood();
        assert!((0..100_000).all(|_| flood.passes()));
    }
}
