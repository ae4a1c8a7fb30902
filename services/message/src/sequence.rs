//! What an append decides under the lock, as pure functions: facts and a batch in, numbers and rows out.

mod changes;
mod drafts;
mod refusal;

use messenger_core::{Position, Timestamp};

pub use self::{
    changes::{AppliedChanges, ChangeFacts, Changed, Departure, Head, Membership, apply_changes},
    drafts::{DraftFacts, NumberedDrafts, Sent, StoredBefore, number_drafts},
    refusal::Refusal,
};

/// What the lock gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The last position used.
    pub position: Position,
    /// When everything of this commit was created.
    pub created_at: Timestamp,
}

impl Numbering {
    fn next(&mut self) -> Position {
        self.position.0 += 1;
        self.position
    }
}
