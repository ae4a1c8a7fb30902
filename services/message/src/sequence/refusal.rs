//! Refusals that depend on what the journal holds: the same draft may be taken a moment later.

use messenger_core::{Error, Result};

/// Why a draft is refused under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The sender does not take part, or there is no such conversation, or it is not a group.
    NoConversation,
    /// Only ADMINs may post.
    AdminsOnly,
    /// What it answers is not a message of the conversation.
    AnswersElsewhere,
}

impl Refusal {
    /// As it is stored.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::NoConversation => 1,
            Self::AdminsOnly => 2,
            Self::AnswersElsewhere => 3,
        }
    }

    /// The reverse.
    ///
    /// # Errors
    /// INTERNAL for a code that is not known.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            1 => Ok(Self::NoConversation),
            2 => Ok(Self::AdminsOnly),
            3 => Ok(Self::AnswersElsewhere),
            _ => Err(Error::internal(format!("no reason of a refusal has the code {code}"))),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoConversation => Self::not_found("no such conversation"),
            Refusal::AdminsOnly => Self::forbidden("Only admins can post messages here"),
            Refusal::AnswersElsewhere => Self::invalid("replyToId", "must be a message of the same conversation"),
        }
    }
}
