//! How often something may be tried: by whoever has not proven who it is, or as a call by whoever has.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use messenger_core::{Error, ErrorKind};

/// Keys above which those at rest are forgotten.
const KEYS_AT_REST_MAX: usize = 10_000;

/// Counts attempts by key, in this process. What strangers send is no key: it would take memory; its hash is one.
pub struct Attempts<K: Clone + Eq + Hash> {
    limiter: DefaultKeyedRateLimiter<K>,
    forgets_above: AtomicUsize,
}

impl<K: Clone + Eq + Hash> Attempts<K> {
    /// `count` at once, and as many more in each `time`, one after the other.
    #[must_use]
    pub fn new(count: NonZeroU32, time: Duration) -> Self {
        let quota = Quota::with_period(time / count.get()).expect("not zero").allow_burst(count);
        Self { limiter: RateLimiter::keyed(quota), forgets_above: AtomicUsize::new(KEYS_AT_REST_MAX) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn count(&self, key: &K) -> Result<(), Error> {
        if self.limiter.len() > self.forgets_above.load(Ordering::Relaxed) {
            self.limiter.retain_recent();
            // Looked through again only when there are twice as many as could not be forgotten.
            self.forgets_above.store((2 * self.limiter.len()).max(KEYS_AT_REST_MAX), Ordering::Relaxed);
        }
        self.limiter.check_key(key).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            Error::new(ErrorKind::RateLimited, "too many attempts, try again later").with_retry_after(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let attempts = Attempts::new(NonZeroU32::new(10).expect("not zero"), Duration::from_secs(900));
        for _ in 0..10 {
            attempts.count(&"ann").expect("within");
        }
        let error = attempts.count(&"ann").expect_err("over");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(90)));
        attempts.count(&"bob").expect("another key");
    }
}
