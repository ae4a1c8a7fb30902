//! Who did what, or was refused it: a record for each, for those who must account for it.
//!
//! Ids only. What people write, their addresses, passwords and tokens are in none.

use std::{
    mem,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use messenger_core::{ConversationId, Error, Result, SessionId, UserId};

/// The target of every record: `--log warn,audit=info` keeps them when all else is quiet.
pub const AUDIT: &str = "audit";
/// The outcome of what succeeded; else it is the error's code.
const DONE: &str = "done";
/// Of what anybody can cause without end, so many records …
const RECORDS_MAX: u32 = 20;
/// … in so long.
const WHILE: Duration = Duration::from_secs(10);

/// A record to be, of an action with a stable dotted name (docs/operations.md lists them).
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "it is recorded with its outcome"]
pub struct Audit<'a> {
    action: &'static str,
    user: Option<UserId>,
    session: Option<SessionId>,
    conversation: Option<ConversationId>,
    subject: Option<UserId>,
    service: Option<&'a str>,
    peer: Option<IpAddr>,
    method: Option<&'a str>,
}

impl<'a> Audit<'a> {
    /// Of an action by nobody that is known.
    pub fn of(action: &'static str) -> Self {
        Self { action, ..Self::default() }
    }

    /// Who did it.
    pub fn by(self, user: impl Into<Option<UserId>>) -> Self {
        Self { user: user.into(), ..self }
    }

    /// The session it was done in or to.
    pub fn session(self, session: impl Into<Option<SessionId>>) -> Self {
        Self { session: session.into(), ..self }
    }

    /// The conversation it was done in or to.
    pub fn conversation(self, conversation: ConversationId) -> Self {
        Self { conversation: Some(conversation), ..self }
    }

    /// The user it was done to.
    pub fn subject(self, user: impl Into<Option<UserId>>) -> Self {
        Self { subject: user.into(), ..self }
    }

    /// The service that did it, by its name.
    pub fn service(self, name: &'a str) -> Self {
        Self { service: Some(name), ..self }
    }

    /// Where a service, or somebody who proved nothing, called from.
    pub fn peer(self, address: impl Into<Option<IpAddr>>) -> Self {
        Self { peer: address.into(), ..self }
    }

    /// The call it was, by its path: one there is, for any other is a stranger's words.
    pub fn method(self, path: impl Into<Option<&'a str>>) -> Self {
        Self { method: path.into(), ..self }
    }

    /// Records how it went, and passes that on.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn outcome<T>(self, outcome: Result<T>) -> Result<T> {
        self.record(name(&outcome));
        outcome
    }

    /// Records what was done, and what was refused within a limit: users may be refused without end. Passes either on.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn decided<T>(self, refusals: &AuditLimit, outcome: Result<T>) -> Result<T> {
        if outcome.is_ok() { self.outcome(outcome) } else { self.outcome_within(refusals, outcome) }
    }

    /// The same for each of those it was done to.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn decided_for<T>(self, subjects: &[UserId], refusals: &AuditLimit, outcome: Result<T>) -> Result<T> {
        subjects.iter().fold(outcome, |outcome, subject| self.subject(*subject).decided(refusals, outcome))
    }

    /// Records that it was done.
    pub fn done(self) {
        self.record(DONE);
    }

    /// Records how it went and passes that on, for what anybody can cause without end.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn outcome_within<T>(self, limit: &AuditLimit, outcome: Result<T>) -> Result<T> {
        if let Some(left_out) = limit.admit(Instant::now()) {
            self.write(name(&outcome), (left_out > 0).then_some(left_out));
        }
        outcome
    }

    fn record(self, outcome: &'static str) {
        self.write(outcome, None);
    }

    fn write(self, outcome: &'static str, left_out: Option<u64>) {
        tracing::info!(
            target: AUDIT,
            action = self.action,
            outcome,
            user.id = self.user.map(display),
            session.id = self.session.map(display),
            conversation.id = self.conversation.map(display),
            subject.id = self.subject.map(display),
            peer.service = self.service,
            peer.address = self.peer.map(display),
            rpc.method = self.method,
            left_out,
        );
    }
}

/// Keeps a flood from filling the disk: 20 records in 10 s are written, and the first one after them says how many were
/// not.
#[derive(Debug, Default)]
pub struct AuditLimit(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    since: Option<Instant>,
    records: u32,
    left_out: u64,
}

impl AuditLimit {
    /// How many were left out before this one; none when it is left out, too.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.since.is_none_or(|since| now.duration_since(since) >= WHILE) {
            (written.since, written.records) = (Some(now), 0);
        }
        if written.records >= RECORDS_MAX {
            written.left_out += 1;
            return None;
        }
        written.records += 1;
        Some(mem::take(&mut written.left_out))
    }
}

fn name<T>(outcome: &Result<T>) -> &'static str {
    outcome.as_ref().map_or_else(|error: &Error| error.kind().code(), |_| DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let (limit, now) = (AuditLimit::default(), Instant::now());
        let admitted = (0..1_000).filter_map(|_| limit.admit(now)).collect::<Vec<_>>();
        assert_eq!(admitted, [0; RECORDS_MAX as usize]);
        assert_eq!(limit.admit(now + WHILE / 2), None);
        assert_eq!(limit.admit(now + WHILE), Some(981));
        assert_eq!(limit.admit(now + WHILE), Some(0));
    }
}
