//! Pages by keyset: how many rows, and the token that says where the next page begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Error, limits};

/// Rows on a page: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// From a request; 0 means the default.
    ///
    /// # Errors
    /// VALIDATION_FAILED outside 0..=100.
    pub fn new(rows: i32) -> Result<Self, Error> {
        match u32::try_from(rows) {
            Ok(0) => Ok(Self(limits::PAGE_ROWS_DEFAULT)),
            Ok(rows) if rows <= limits::PAGE_ROWS_MAX => Ok(Self(rows)),
            _ => Err(Error::invalid("limit", format!("must be 1 to {}", limits::PAGE_ROWS_MAX))),
        }
    }

    /// The rows.
    #[must_use]
    pub const fn rows(self) -> u32 {
        self.0
    }

    /// One more than the rows: what a store reads to know whether there is a next page.
    #[must_use]
    pub const fn rows_and_one(self) -> i64 {
        self.0 as i64 + 1
    }
}

/// Makes the token for the page after a row with this key.
#[must_use]
pub fn encode_token(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// Reads the key back; none for an empty token (the first page).
///
/// # Errors
/// VALIDATION_FAILED when it is none of ours.
pub fn decode_token(token: &str) -> Result<Option<String>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || Error::invalid("cursor", "is not a page token of this list");
    if token.len() > 512 {
        return Err(invalid());
    }
    let key = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    String::from_utf8(key).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(PageSize::new(0).expect("default").rows(), 50);
        assert_eq!(PageSize::new(100).expect("largest").rows_and_one(), 101);
        assert!(PageSize::new(101).is_err() && PageSize::new(-1).is_err());
    }

    #[test]
    fn tokens() {
        assert_eq!(decode_token("").expect("first page"), None);
        assert_eq!(decode_token(&encode_token("ä|1")).expect("own").as_deref(), Some("ä|1"));
        assert!(decode_token("!!").is_err() && decode_token(&"A".repeat(600)).is_err());
    }
}
