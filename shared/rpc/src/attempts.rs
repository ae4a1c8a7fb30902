//! How often something may be tried: by whoever has not proven who it is, or as a call by whoever has.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use messenger_core::{Error, ErrorKind};

/// Counts, at least, after which keys at rest are forgotten.
const FORGETS_AFTER: usize = 10_000;

/// Counts attempts by key, in this process. What strangers send is no key: it would take memory; its hash is one.
pub struct Attempts<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    refusal: &'static str,
    counts_left: AtomicUsize,
}

impl<K: Clone + Eq + Hash> Attempts<K> {
    /// `count` at once, and as many more in each `time`, one after the other.
    #[must_use]
    pub fn new(count: NonZeroU32, time: Duration) -> Self {
        let quota = Quota::with_period(time / count.get()).expect("not zero").allow_burst(count);
        Self::of(quota, "too many attempts, try again later")
    }

    /// `rate` a second, and `burst` at once after a pause; whoever is over it reads `refusal`.
    #[must_use]
    pub fn per_second(rate: NonZeroU32, burst: NonZeroU32, refusal: &'static str) -> Self {
        Self::of(Quota::per_second(rate).allow_burst(burst), refusal)
    }

    fn of(quota: Quota, refusal: &'static str) -> Self {
        Self { limiter: RateLimiter::keyed(quota), refusal, counts_left: AtomicUsize::new(FORGETS_AFTER) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn count(&self, key: &K) -> Result<(), Error> {
        if self.counts_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.forget();
        }
        self.limiter.check_key(key).map_err(|early| {
            // It is told in whole milliseconds, and the one that was begun counts.
            let wait = early.wait_time_from(self.limiter.clock().now()) + Duration::from_millis(1);
            Error::new(ErrorKind::RateLimited, self.refusal).with_retry_after(wait)
        })
    }

    /// Done by one of those who count, after as many counts as it leaves keys: there are never more than twice those,
    /// or those and [`FORGETS_AFTER`], and the share of each count in it stays the same.
    fn forget(&self) {
        self.limiter.retain_recent();
        self.counts_left.store(self.limiter.len().max(FORGETS_AFTER), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("not zero")
    }

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let attempts = Attempts::new(some(10), Duration::from_secs(900));
        for _ in 0..10 {
            attempts.count(&"ann").expect("within");
        }
        let error = attempts.count(&"ann").expect_err("over");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::ZERO && wait < Duration::from_secs(91)));
        attempts.count(&"bob").expect("another key");
    }

    #[test]
    fn keys_at_rest_are_forgotten() {
        let attempts = Attempts::per_second(some(1_000_000), some(1), "slow down");
        assert!((0..5 * FORGETS_AFTER).all(|key| attempts.count(&key).is_ok()));
        assert!(attempts.limiter.len() <= 2 * FORGETS_AFTER, "{} keys", attempts.limiter.len());
    }

    #[test]
    fn keys_in_use_are_not_forgotten() {
        let attempts = Attempts::new(some(1), Duration::from_secs(900));
        assert!((0..5 * FORGETS_AFTER).all(|key| attempts.count(&key).is_ok()));
        assert!((0..5 * FORGETS_AFTER).all(|key| attempts.count(&key).is_err()));
    }
}
