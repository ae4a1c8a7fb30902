//! Guesses at one account from many addresses, each of which is slow enough for itself.
//!
//! Tries from places an account does not know share one bound, so that many addresses guess no faster than one. A place
//! from which somebody has logged in to the account is no part of that: those who guess do not keep its user out.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_lc_rs::hmac;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use messenger_core::{Error, ErrorKind, Result, UserId};

use crate::model::{Digest, Email};

/// Tries at one account from places it does not know, at once …
const TRIES_MAX: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// … and one more each time so long has passed: ten in 15 minutes.
const TRY_EVERY: Duration = Duration::from_secs(90);
/// Accounts above which those at rest are forgotten.
const ACCOUNTS_AT_REST_MAX: usize = 10_000;

/// Counts them, in this process.
pub struct Guesses {
    tries: DefaultKeyedRateLimiter<u64>,
    forgets_above: AtomicUsize,
    accounts: RandomState,
    key: hmac::Key,
}

impl Guesses {
    /// The secret is the store's: places are known for as long.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let quota = Quota::with_period(TRY_EVERY).expect("not zero").allow_burst(TRIES_MAX);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let forgets_above = AtomicUsize::new(ACCOUNTS_AT_REST_MAX);
        Self { tries: RateLimiter::keyed(quota), forgets_above, accounts: RandomState::new(), key }
    }

    /// An address as an account remembers it: it cannot be read from that, nor compared with another account's.
    #[must_use]
    pub fn place(&self, user_id: UserId, address: &str) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [b"place of a login", user_id.uuid().as_bytes().as_slice(), address.as_bytes()] {
            context.update(part);
        }
        let mut place = Digest::default();
        place.copy_from_slice(context.sign().as_ref());
        place
    }

    /// Counts a try, whether there is such an account or not.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn count(&self, email: &Email) -> Result<()> {
        if self.tries.len() > self.forgets_above.load(Ordering::Relaxed) {
            self.tries.retain_recent();
            // Looked through again only when there are twice as many as could not be forgotten.
            self.forgets_above.store((2 * self.tries.len()).max(ACCOUNTS_AT_REST_MAX), Ordering::Relaxed);
        }
        // Hashed, so that what strangers send takes no memory.
        self.tries.check_key(&self.accounts.hash_one(email.as_str())).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            Error::new(ErrorKind::RateLimited, "too many attempts, try again later").with_retry_after(wait)
        })
    }
}
