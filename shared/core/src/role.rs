//! What kind of conversation, and what part a user has in it.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The kind of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConversationType {
    /// Two users.
    P2p,
    /// Many, with a name and roles.
    Group,
}

impl ConversationType {
    /// As stored: 1 or 2.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::P2p => 1,
            Self::Group => 2,
        }
    }

    /// From its stored form.
    ///
    /// # Errors
    /// INTERNAL when a store holds something else.
    pub fn from_code(code: i16) -> Result<Self, Error> {
        match code {
            1 => Ok(Self::P2p),
            2 => Ok(Self::Group),
            other => Err(Error::internal(format!("stored conversation type {other}"))),
        }
    }
}

/// What a participant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Changes the group and its participants; posts in restricted groups.
    Admin,
    /// Reads, and posts where that is not restricted.
    Member,
}

impl Role {
    /// As stored: 1 or 2.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Admin => 1,
            Self::Member => 2,
        }
    }

    /// From its stored form.
    ///
    /// # Errors
    /// INTERNAL when a store holds something else.
    pub fn from_code(code: i16) -> Result<Self, Error> {
        match code {
            1 => Ok(Self::Admin),
            2 => Ok(Self::Member),
            other => Err(Error::internal(format!("stored role {other}"))),
        }
    }
}
