//! Who did what, or was refused it: a record for each, for those who must account for it.
//!
//! Ids only. What people write, their addresses, passwords and tokens are in none.

use messenger_core::{ConversationId, Error, Result, SessionId, UserId};

/// The target of every record: `--log warn,audit=info` keeps them when all else is quiet.
pub const AUDIT: &str = "audit";
/// The outcome of what succeeded; else it is the error's code.
const DONE: &str = "done";

/// A record to be, of an action with a stable dotted name (docs/operations.md lists them).
#[derive(Debug, Clone, Copy)]
#[must_use = "it is recorded with its outcome"]
pub struct Audit {
    action: &'static str,
    user: Option<UserId>,
    session: Option<SessionId>,
    conversation: Option<ConversationId>,
    subject: Option<UserId>,
}

impl Audit {
    /// Of an action by nobody that is known.
    pub const fn of(action: &'static str) -> Self {
        Self { action, user: None, session: None, conversation: None, subject: None }
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

    /// Records how it went, and passes that on.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn outcome<T>(self, outcome: Result<T>) -> Result<T> {
        self.record(name(&outcome));
        outcome
    }

    /// Records how it went for each of those it was done to, and passes that on.
    ///
    /// # Errors
    /// The outcome's own.
    pub fn outcome_for<T>(self, subjects: &[UserId], outcome: Result<T>) -> Result<T> {
        for subject in subjects {
            self.subject(*subject).record(name(&outcome));
        }
        outcome
    }

    /// Records that it was done.
    pub fn done(self) {
        self.record(DONE);
    }

    fn record(self, outcome: &'static str) {
        tracing::info!(
            target: AUDIT,
            action = self.action,
            outcome,
            user.id = self.user.map(display),
            session.id = self.session.map(display),
            conversation.id = self.conversation.map(display),
            subject.id = self.subject.map(display),
        );
    }
}

fn name<T>(outcome: &Result<T>) -> &'static str {
    outcome.as_ref().map_or_else(|error: &Error| error.kind().code(), |_| DONE)
}
