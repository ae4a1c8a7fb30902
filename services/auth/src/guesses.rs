//! Guesses at one account from many addresses, each of which is slow enough for itself.
//!
//! Tries from places an account does not know share one bound, so that many addresses guess no faster than one. A place
//! from which somebody has logged in to the account is no part of that: those who guess do not keep its user out.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use aws_lc_rs::hmac;
use messenger_core::{Result, UserId};
use messenger_rpc::Attempts;

use crate::model::{Digest, Email};

/// Tries at one account from places it does not know …
const TRIES_MAX: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// … in so long.
const TRIES_TIME: Duration = Duration::from_secs(15 * 60);

/// Counts them, in this process.
pub struct Guesses {
    tries: Attempts<u64>,
    accounts: RandomState,
    key: hmac::Key,
}

impl Guesses {
    /// The secret is the store's: places are known for as long.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { tries: Attempts::new(TRIES_MAX, TRIES_TIME), accounts: RandomState::new(), key }
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
        // Hashed, so that what strangers send takes no memory.
        self.tries.count(&self.accounts.hash_one(email.as_str()))
    }
}
