//! Tokens ended before their time.

use std::{collections::HashMap, time::Duration};

use messenger_core::{SessionId, Timestamp, UserId};

use crate::{Identity, claims::OWN_LIFE_MAX, foreign::FOREIGN_LIFE_MAX};

/// Ends a user's access tokens: of one session for good, or those issued before it of every session but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in auth's list.
    pub number: i64,
    /// Whose tokens.
    pub user_id: UserId,
    /// The ended session; none: all of the user's.
    pub session_id: Option<SessionId>,
    /// The session that goes on when all others end.
    pub except_session_id: Option<SessionId>,
    /// When.
    pub revoked_at: Timestamp,
    /// No token it ends is good for longer.
    pub until: Timestamp,
}

impl Revocation {
    /// Whether it ends this token.
    #[must_use]
    pub fn ends(&self, identity: &Identity) -> bool {
        if self.user_id != identity.user_id {
            return false;
        }
        match self.session_id {
            Some(session_id) => session_id == identity.session_id,
            None => identity.issued_at < self.revoked_at && self.except_session_id != Some(identity.session_id),
        }
    }
}

/// For clocks that differ.
const ROOM: Duration = Duration::from_secs(4 * 60);

impl Revocation {
    /// Until when one of this time matters for tokens of ours: longer than an access token lives (15 min).
    #[must_use]
    pub fn own_until(revoked_at: Timestamp) -> Timestamp {
        revoked_at.plus(OWN_LIFE_MAX).plus(ROOM)
    }

    /// The same for tokens of other identity systems, which live longer (a day).
    #[must_use]
    pub fn foreign_until(revoked_at: Timestamp) -> Timestamp {
        revoked_at.plus(FOREIGN_LIFE_MAX).plus(ROOM)
    }
}

/// The revocations that may still matter. Bounded by what auth writes in 20 minutes, for users of other identity
/// systems in a day.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    by_user: HashMap<UserId, Vec<Revocation>>,
    pruned_at: Timestamp,
}

impl Revocations {
    pub(crate) fn add(&mut self, revocation: Revocation, now: Timestamp) {
        if now.since(self.pruned_at) > Duration::from_secs(60) {
            self.prune(now);
        }
        let of_user = self.by_user.entry(revocation.user_id).or_default();
        // By all of it: a store that was restored from a backup gives numbers anew.
        if !of_user.contains(&revocation) {
            of_user.push(revocation);
        }
    }

    fn prune(&mut self, now: Timestamp) {
        self.by_user.retain(|_, of_user| {
            of_user.retain(|revocation| revocation.until >= now);
            !of_user.is_empty()
        });
        self.pruned_at = now;
    }

    pub(crate) fn end(&self, identity: &Identity) -> bool {
        self.by_user.get(&identity.user_id).is_some_and(|of_user| of_user.iter().any(|one| one.ends(identity)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(number: i64, revoked_at: Timestamp) -> Revocation {
        let user_id = UserId::new(Timestamp::from_millis(number));
        let until = Revocation::own_until(revoked_at);
        Revocation { number, user_id, session_id: None, except_session_id: None, revoked_at, until }
    }

    #[test]
    fn old_ones_are_forgotten() {
        let mut revocations = Revocations::default();
        let start = Timestamp::from_millis(1_000_000_000);
        revocations.add(revocation(1, start), start);
        let later = Revocation::own_until(start).plus(Duration::from_secs(61));
        revocations.add(revocation(2, later), later);
        assert_eq!(revocations.by_user.len(), 1);
    }

    #[test]
    fn repeats_take_no_room() {
        let mut revocations = Revocations::default();
        let one = revocation(1, Timestamp::from_millis(5));
        revocations.add(one, one.revoked_at);
        revocations.add(one, one.revoked_at);
        assert_eq!(revocations.by_user[&one.user_id].len(), 1);
        let after_a_restore = Revocation { revoked_at: Timestamp::from_millis(6), ..one };
        revocations.add(after_a_restore, one.revoked_at);
        assert_eq!(revocations.by_user[&one.user_id].len(), 2);
    }
}
