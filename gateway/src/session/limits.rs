//! How often a user may send, and how often a conversation is sent to.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use messenger_core::{ConversationId, Error, ErrorKind, UserId};
use tokio::time::Instant;
use uuid::Uuid;

/// Keys at rest are forgotten this often.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Rates of sends; switched off, everything passes.
pub struct Limits {
    rates: Option<Rates>,
    /// Events a second of one connection.
    flood: Option<u64>,
}

struct Rates {
    clock: DefaultClock,
    users: DefaultKeyedRateLimiter<UserId>,
    targets: DefaultKeyedRateLimiter<(Uuid, Uuid)>,
}

/// Sends per second.
#[derive(Debug, Clone, Copy)]
pub struct SendRates {
    /// Of one user, sustained.
    pub per_user: NonZeroU32,
    /// Of one user at once, after a pause.
    pub burst_per_user: NonZeroU32,
    /// To one conversation.
    pub per_conversation: NonZeroU32,
}

/// A connection whose events come at so many times the rate of its user's sends …
const FLOOD_FACTOR: u32 = 10;
/// … for so many seconds on end floods: it is closed.
const FLOOD_SECONDS: u64 = 10;
/// A pause after a burst counts as so many of these seconds at most, so that a burst alone is none.
const PAUSE_SECONDS_MAX: u64 = 2;

/// Counts the events of one connection, second by second.
#[derive(Debug)]
pub(super) struct Flood {
    /// None: whatever comes is admitted.
    per_second_max: Option<u64>,
    began: Instant,
    events: u64,
    seconds: u64,
}

impl Flood {
    fn new(per_second_max: Option<u64>) -> Self {
        Self { per_second_max, began: Instant::now(), events: 0, seconds: 0 }
    }

    /// Counts an event, whatever it is; false when they are so many that the connection is to be closed.
    pub(super) fn admits(&mut self) -> bool {
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

impl Limits {
    /// `None` switches them off (benchmarks).
    #[must_use]
    pub fn new(rates: Option<SendRates>) -> Self {
        let flood = rates.map(|rates| u64::from(rates.per_user.get()) * u64::from(FLOOD_FACTOR));
        let rates = rates.map(|rates| Rates {
            clock: DefaultClock::default(),
            users: RateLimiter::keyed(Quota::per_second(rates.per_user).allow_burst(rates.burst_per_user)),
            targets: RateLimiter::keyed(Quota::per_second(rates.per_conversation)),
        });
        Self { rates, flood }
    }

    /// For a new connection.
    pub(super) fn flood(&self) -> Flood {
        Flood::new(self.flood)
    }

    /// Counts a send to a conversation.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn send_to(&self, sender: UserId, conversation: ConversationId) -> Result<(), Error> {
        self.send(sender, (conversation.uuid(), Uuid::nil()))
    }

    /// Counts a send to another user.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn send_to_user(&self, sender: UserId, receiver: UserId) -> Result<(), Error> {
        let (one, other) = (sender.uuid(), receiver.uuid());
        self.send(sender, (one.min(other), one.max(other)))
    }

    fn send(&self, sender: UserId, target: (Uuid, Uuid)) -> Result<(), Error> {
        let Some(rates) = &self.rates else { return Ok(()) };
        let refuse = |message: &'static str, after: Duration| {
            let after = Duration::from_millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
            Err(Error::new(ErrorKind::RateLimited, message).with_retry_after(after))
        };
        if let Err(refused) = rates.users.check_key(&sender) {
            return refuse("too many messages, slow down", refused.wait_time_from(rates.clock.now()));
        }
        if let Err(refused) = rates.targets.check_key(&target) {
            return refuse("too many messages in this conversation", refused.wait_time_from(rates.clock.now()));
        }
        Ok(())
    }

    /// Forgets keys at rest, again and again; never resolves.
    pub(super) async fn forget(&self) {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        loop {
            ticks.tick().await;
            if let Some(rates) = &self.rates {
                rates.users.retain_recent();
                rates.targets.retain_recent();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_user: u32, per_conversation: u32) -> Limits {
        let rate = |count| NonZeroU32::new(count).expect("not zero");
        let (per_user, per_conversation) = (rate(per_user), rate(per_conversation));
        Limits::new(Some(SendRates { per_user, burst_per_user: per_user, per_conversation }))
    }

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn a_user_over_its_rate_is_told_when_to_go_on() {
        let limits = limits(2, 50);
        let conversation = ConversationId::from_uuid(Uuid::from_u128(9));
        assert!(limits.send_to(user(1), conversation).is_ok() && limits.send_to_user(user(1), user(2)).is_ok());
        let error = limits.send_to(user(1), conversation).expect_err("over");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().is_some_and(|after| after > Duration::ZERO && after <= Duration::from_secs(1)));
        assert!(limits.send_to(user(2), conversation).is_ok(), "others are not touched");
    }

    #[test]
    fn both_sides_of_a_p2p_share_its_rate() {
        let limits = limits(9, 2);
        assert!(limits.send_to_user(user(1), user(2)).is_ok() && limits.send_to_user(user(2), user(1)).is_ok());
        assert!(limits.send_to_user(user(1), user(2)).is_err());
    }

    /// Sends bursts of so many events until it is closed; the seconds that took.
    async fn closed_after(burst: u32, pause: Duration) -> Option<u64> {
        let (mut flood, began) = (limits(2, 50).flood(), Instant::now());
        for _ in 0..200 {
            if !(0..burst).all(|_| flood.admits()) {
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
        let mut flood = limits(2, 50).flood();
        let mut floods = async || {
            for _ in 0..9 {
                if !(0..1_000).all(|_| flood.admits()) {
                    return false;
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let is_open = flood.admits();
            tokio::time::advance(Duration::from_secs(1)).await;
            is_open
        };
        assert!(floods().await, "nine seconds are no flood");
        assert!(!floods().await);
    }

    #[test]
    fn off_means_off() {
        let limits = Limits::new(None);
        assert!((0..1_000).all(|_| limits.send_to_user(user(1), user(2)).is_ok()));
        let mut flood = limits.flood();
        assert!((0..100_000).all(|_| flood.admits()));
    }
}
