//! Users of other identity systems are let in by auth, which makes their row and knows whom an operator keeps out.

use std::{collections::HashMap, fmt, mem};

use async_trait::async_trait;
use messenger_core::{Error, Timestamp, UserId};

use crate::ForeignUser;

/// Asks auth: in its own process, or by a call.
#[async_trait]
pub trait Admission: fmt::Debug + Send + Sync {
    /// Makes or updates the user.
    ///
    /// # Errors
    /// TOKEN_REVOKED for a deactivated user; UNAVAILABLE.
    async fn admit(&self, user: &ForeignUser) -> Result<(), Error>;
}

/// Users in each half.
const HALF_MAX: usize = 50_000;

/// The newest token each user was admitted by, so that auth is asked once for each token and process. The users seen
/// longest ago are forgotten: at most 100,000 are known, about 5 MB.
///
/// A deactivation is dated after every token auth has seen, and so ends all that are known here.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    young: HashMap<UserId, Timestamp>,
    old: HashMap<UserId, Timestamp>,
}

impl Admitted {
    pub(crate) fn contains(&mut self, user: &ForeignUser) -> bool {
        let is_known =
            |half: &HashMap<UserId, Timestamp>| half.get(&user.user_id).is_some_and(|newest| user.issued_at <= *newest);
        if is_known(&self.young) {
            return true;
        }
        let is_old = is_known(&self.old);
        if is_old {
            self.add(user.user_id, self.old[&user.user_id]);
        }
        is_old
    }

    pub(crate) fn add(&mut self, user_id: UserId, issued_at: Timestamp) {
        if self.young.len() >= HALF_MAX && !self.young.contains_key(&user_id) {
            self.old = mem::take(&mut self.young);
        }
        let newest = self.young.entry(user_id).or_insert(issued_at);
        *newest = issued_at.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: i64, issued_at: i64) -> ForeignUser {
        ForeignUser {
            user_id: crate::foreign_user_id("issuer", &number.to_string()),
            issuer: "issuer".to_owned(),
            subject: number.to_string(),
            issued_at: Timestamp::from_millis(issued_at),
            email: None,
            full_name: None,
            designation: None,
        }
    }

    #[test]
    fn each_newer_token_is_asked_for_and_memory_is_bounded() {
        let mut admitted = Admitted::default();
        let seen = user(0, 10);
        assert!(!admitted.contains(&seen));
        admitted.add(seen.user_id, seen.issued_at);
        assert!(admitted.contains(&seen) && admitted.contains(&user(0, 9)) && !admitted.contains(&user(0, 11)));
        for number in 1..=2 * HALF_MAX as i64 {
            let other = user(number, 1);
            admitted.add(other.user_id, other.issued_at);
            assert!(admitted.contains(&seen), "in use");
        }
        assert!(admitted.young.len() + admitted.old.len() <= 2 * HALF_MAX);
        assert!(!admitted.contains(&user(1, 1)), "forgotten");
    }
}
