//! How often a user may send, and how often a conversation is sent to.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use messenger_core::{ConversationId, Error, ErrorKind, UserId};
use uuid::Uuid;

/// Keys at rest are forgotten this often.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Rates of sends; switched off, everything passes.
pub struct Limits {
    rates: Option<Rates>,
    flood: Option<Quota>,
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

/// Events of one connection: so many times the rate of its user's sends …
const FLOOD_FACTOR: u32 = 10;
/// … sustained for so many seconds are a flood.
const FLOOD_SECONDS: u32 = 50;

/// Counts the events of one connection.
pub(super) struct Flood(Option<DefaultDirectRateLimiter>);

impl Flood {
    /// Counts an event, whatever it is; false when they are so many that the connection is to be closed.
    pub(super) fn admits(&self) -> bool {
        self.0.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }
}

impl Limits {
    /// `None` switches them off (benchmarks).
    #[must_use]
    pub fn new(rates: Option<SendRates>) -> Self {
        let flood = rates.map(|rates| {
            let per_second = rates.per_user.saturating_mul(NonZeroU32::MIN.saturating_add(FLOOD_FACTOR - 1));
            let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(FLOOD_SECONDS - 1));
            Quota::per_second(per_second).allow_burst(burst)
        });
        let rates = rates.map(|rates| Rates {
            clock: DefaultClock::default(),
            users: RateLimiter::keyed(Quota::per_second(rates.per_user).allow_burst(rates.burst_per_user)),
            targets: RateLimiter::keyed(Quota::per_second(rates.per_conversation)),
        });
        Self { rates, flood }
    }

    /// For a new connection.
    pub(super) fn flood(&self) -> Flood {
        Flood(self.flood.map(RateLimiter::direct))
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

    #[test]
    fn a_flood_is_far_more_than_the_rate() {
        let flood = limits(2, 50).flood();
        assert_eq!((0..2_000).filter(|_| flood.admits()).count(), 1_000);
    }

    #[test]
    fn off_means_off() {
        let limits = Limits::new(None);
        assert!((0..1_000).all(|_| limits.send_to_user(user(1), user(2)).is_ok() && limits.flood().admits()));
    }
}
