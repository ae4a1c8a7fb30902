//! Users of other identity systems are let in by auth, which makes their row and knows whom an operator keeps out.

use std::fmt;

use async_trait::async_trait;
use messenger_core::{Cache, Error, Timestamp, UserId};

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

/// Users of other systems whose newest token is known while they come, and at most twice as many: about 5 MB.
const USERS_ADMITTED_MAX: usize = 50_000;

/// The newest token each user was admitted by, so that auth is asked once for each token and process.
///
/// A deactivation is dated after every token auth has seen, and so ends all that are known here.
#[derive(Debug)]
pub(crate) struct Admitted(Cache<UserId, Timestamp>);

impl Default for Admitted {
    fn default() -> Self {
        Self(Cache::new(USERS_ADMITTED_MAX))
    }
}

impl Admitted {
    pub(crate) fn contains(&mut self, user: &ForeignUser) -> bool {
        self.0.get(&user.user_id).is_some_and(|newest| user.issued_at <= newest)
    }

    pub(crate) fn add(&mut self, user: &ForeignUser) {
        let newest = self.0.get(&user.user_id).map_or(user.issued_at, |newest| newest.max(user.issued_at));
        self.0.insert(user.user_id, newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(issued_at: i64) -> ForeignUser {
        ForeignUser {
            user_id: crate::foreign_user_id("issuer", "ann"),
            issuer: "issuer".to_owned(),
            subject: "ann".to_owned(),
            issued_at: Timestamp::from_millis(issued_at),
            email: None,
            full_name: None,
            designation: None,
        }
    }

    #[test]
    fn each_newer_token_is_asked_for() {
        let mut admitted = Admitted::default();
        assert!(!admitted.contains(&user(10)));
        admitted.add(&user(10));
        admitted.add(&user(9));
        assert!(admitted.contains(&user(10)) && admitted.contains(&user(9)) && !admitted.contains(&user(11)));
    }
}
