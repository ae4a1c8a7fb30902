//! How often a user may send, and how often a conversation is sent to: at the edge, and by gRPC without it. A change of a
//! conversation counts as a send to it: its participants hear of it as of one.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
};

use clap::Args;
use messenger_core::{Cache, ConversationId, Error, ErrorKind, UserId};
use uuid::Uuid;

use crate::Attempts;

/// Users and conversations of which it is known that they belong together, and at most twice as many.
const PARTICIPANTS_KNOWN: usize = 50_000;

/// Settings of rates.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// Let everybody send, log in and register as often as they like: for benchmarks.
    #[arg(long, env = "MESSENGER_NO_RATE_LIMITS")]
    pub no_rate_limits: bool,
    /// Sends a second of one user, sustained; each process counts for itself.
    #[arg(long, env = "MESSENGER_SENDS_PER_USER", default_value = "10", value_parser = at_least_one)]
    pub sends_per_user: NonZeroU32,
    /// Sends of one user at once, after a pause.
    #[arg(long, env = "MESSENGER_SEND_BURST_PER_USER", default_value = "30", value_parser = at_least_one)]
    pub send_burst_per_user: NonZeroU32,
    /// Sends a second to one conversation; each process counts for itself.
    #[arg(long, env = "MESSENGER_SENDS_PER_CONVERSATION", default_value = "50", value_parser = at_least_one)]
    pub sends_per_conversation: NonZeroU32,
}

/// A rate: whoever wants none has `--no-rate-limits`, and nothing at all is no rate.
///
/// # Errors
/// With what it must be, for the operator.
pub fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "must be a whole number, 1 or more (without any limits: --no-rate-limits)".to_owned())
}

impl SendArgs {
    /// None: as often as anybody likes.
    #[must_use]
    pub fn rates(&self) -> Option<SendRates> {
        (!self.no_rate_limits).then_some(SendRates {
            per_user: self.sends_per_user,
            burst_per_user: self.send_burst_per_user,
            per_conversation: self.sends_per_conversation,
        })
    }
}

/// The settings in force.
impl fmt::Display for SendArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no-rate-limits = {}", self.no_rate_limits)?;
        writeln!(f, "sends-per-user = {}", self.sends_per_user)?;
        writeln!(f, "send-burst-per-user = {}", self.send_burst_per_user)?;
        writeln!(f, "sends-per-conversation = {}", self.sends_per_conversation)
    }
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

/// Counts sends; switched off, everything passes.
pub struct SendLimits(Option<Counted>);

struct Counted {
    users: Attempts<UserId>,
    targets: Attempts<(Uuid, Uuid)>,
    /// Who took part in what when it was last answered.
    participants: Mutex<Cache<(UserId, ConversationId), bool>>,
}

impl SendLimits {
    /// `None` switches them off (benchmarks).
    #[must_use]
    pub fn new(rates: Option<SendRates>) -> Self {
        Self(rates.map(|SendRates { per_user, burst_per_user, per_conversation }| Counted {
            users: Attempts::per_second(per_user, burst_per_user, "too many messages and changes, slow down"),
            targets: Attempts::per_second(
                per_conversation,
                per_conversation,
                "too many messages and changes in this conversation",
            ),
            participants: Mutex::new(Cache::new(PARTICIPANTS_KNOWN)),
        }))
    }

    /// Counts a send to a conversation, or a change of it: for the sender, and for the conversation if the sender is known
    /// to take part in it. Who does not, or may not post, must neither use up its rate nor learn that there is such a
    /// conversation.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn send_to(&self, sender: UserId, conversation: ConversationId) -> Result<(), Error> {
        let Some(Counted { users, targets, participants }) = &self.0 else { return Ok(()) };
        users.count(&sender)?;
        match lock(participants).get(&(sender, conversation)) {
            Some(true) => targets.count(&(conversation.uuid(), Uuid::nil())),
            Some(false) | None => Ok(()),
        }
    }

    /// What became of a send to a conversation: whether it was stored by this, or the error. A repeat says nothing of
    /// whether its sender may still post, and has to use up nothing.
    pub fn answered(&self, sender: UserId, conversation: ConversationId, is_stored: Result<bool, ErrorKind>) {
        let takes_part = match is_stored {
            Ok(is_stored) => is_stored,
            Err(ErrorKind::NotFound | ErrorKind::Forbidden) => false,
            Err(_) => return,
        };
        let Some(Counted { targets, participants, .. }) = &self.0 else { return };
        let mut participants = lock(participants);
        // Strangers take no room.
        if participants.get(&(sender, conversation)).unwrap_or(false) != takes_part {
            participants.insert((sender, conversation), takes_part);
            if takes_part {
                // Not counted before. What is over the rate was let in already.
                let _ = targets.count(&(conversation.uuid(), Uuid::nil()));
            }
        }
    }

    /// Counts a send to a conversation, makes it, and takes in what became of it.
    ///
    /// # Errors
    /// RATE_LIMITED, and those of the send.
    pub async fn send<T>(
        &self,
        (sender, conversation): (UserId, ConversationId),
        send: impl Future<Output = Result<T, Error>>,
        is_repeat: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        self.send_to(sender, conversation)?;
        let sent = send.await;
        self.answered(sender, conversation, sent.as_ref().map(|sent| !is_repeat(sent)).map_err(Error::kind));
        sent
    }

    /// Counts a change of a conversation, and makes it. One that is refused as FORBIDDEN says nothing of who may post.
    ///
    /// # Errors
    /// RATE_LIMITED, and those of the change.
    pub async fn change<T>(
        &self,
        (sender, conversation): (UserId, ConversationId),
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.send_to(sender, conversation)?;
        let changed = change.await;
        let is_made = changed.as_ref().map(|_| true).map_err(Error::kind);
        if is_made != Err(ErrorKind::Forbidden) {
            self.answered(sender, conversation, is_made);
        }
        changed
    }

    /// Counts a send to another user.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn send_to_user(&self, sender: UserId, receiver: UserId) -> Result<(), Error> {
        let Some(Counted { users, targets, .. }) = &self.0 else { return Ok(()) };
        let (one, other) = (sender.uuid(), receiver.uuid());
        users.count(&sender)?;
        targets.count(&(one.min(other), one.max(other)))
    }

    /// Counts a conversation that is made.
    ///
    /// # Errors
    /// RATE_LIMITED with the time after which it would pass.
    pub fn create(&self, creator: UserId) -> Result<(), Error> {
        self.send_to_user(creator, creator)
    }
}

impl fmt::Debug for SendLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendLimits").finish_non_exhaustive()
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(per_user: u32, per_conversation: u32) -> SendLimits {
        let rate = |count| NonZeroU32::new(count).expect("not zero");
        let (per_user, per_conversation) = (rate(per_user), rate(per_conversation));
        SendLimits::new(Some(SendRates { per_user, burst_per_user: per_user, per_conversation }))
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
    fn only_participants_use_up_the_rate_of_a_conversation() {
        let (limits, conversation) = (limits(9, 2), ConversationId::from_uuid(Uuid::from_u128(9)));
        let send = |number, is_stored| {
            let counted = limits.send_to(user(number), conversation);
            if counted.is_ok() {
                limits.answered(user(number), conversation, is_stored);
            }
            counted.is_ok()
        };
        assert!((0..9).all(|_| send(7, Err(ErrorKind::NotFound))), "a stranger, at its own rate");
        assert!((0..9).all(|_| send(6, Ok(false))), "who was removed, and repeats what was stored");
        assert!(send(1, Ok(true)) && send(2, Ok(true)) && !send(1, Ok(true)), "the first are counted afterwards");
        assert!(send(8, Err(ErrorKind::NotFound)), "a stranger does not learn of it");
        limits.answered(user(1), conversation, Err(ErrorKind::NotFound));
        assert!(send(1, Err(ErrorKind::NotFound)), "nor does who was removed");
    }

    #[test]
    fn both_sides_of_a_p2p_share_its_rate() {
        let limits = limits(9, 2);
        assert!(limits.send_to_user(user(1), user(2)).is_ok() && limits.send_to_user(user(2), user(1)).is_ok());
        assert!(limits.send_to_user(user(1), user(2)).is_err());
    }

    #[test]
    fn off_means_off() {
        let limits = SendLimits::new(None);
        assert!((0..1_000).all(|_| limits.send_to_user(user(1), user(2)).is_ok()));
    }
}
