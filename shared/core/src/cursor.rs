//! Where somebody is in the journal.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{Error, ErrorKind};

/// A place in the journal: rises in commit order, not gapless. 0 is before everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub i64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Tells one journal from another: changed when a backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub Uuid);

/// A position with its journal, opaque outside: 32 url-safe characters today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The journal it was made from.
    pub journal: JournalId,
    /// Everything up to here has been seen.
    pub position: Position,
}

const CURSOR_BYTES: usize = 24;

impl Cursor {
    /// The opaque text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = [0; CURSOR_BYTES];
        bytes[..16].copy_from_slice(self.journal.0.as_bytes());
        bytes[16..].copy_from_slice(&self.position.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the opaque text.
    ///
    /// # Errors
    /// CURSOR_INVALID when it is none of ours.
    pub fn decode(text: &str) -> Result<Self, Error> {
        let invalid = || Error::new(ErrorKind::CursorInvalid, "not a cursor of this server");
        let mut bytes = [0; CURSOR_BYTES];
        if text.len() != 32 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok() != Some(CURSOR_BYTES) {
            return Err(invalid());
        }
        let (journal, position) = bytes.split_at(16);
        let journal = Uuid::from_slice(journal).map_err(|_| invalid())?;
        let position = i64::from_be_bytes(position.try_into().map_err(|_| invalid())?);
        if position < 0 {
            return Err(invalid());
        }
        Ok(Self { journal: JournalId(journal), position: Position(position) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let cursor = Cursor { journal: JournalId(Uuid::from_u128(7)), position: Position(i64::MAX) };
        assert_eq!(Cursor::decode(&cursor.encode()).expect("own"), cursor);
    }

    #[test]
    fn refuses_everything_else() {
        let negative = Cursor { journal: JournalId(Uuid::nil()), position: Position(-1) }.encode();
        for text in ["", "x", &"A".repeat(31), &"A".repeat(33), &"=".repeat(32), &"é".repeat(16), &negative] {
            assert_eq!(Cursor::decode(text).expect_err(text).kind(), ErrorKind::CursorInvalid);
        }
    }
}
