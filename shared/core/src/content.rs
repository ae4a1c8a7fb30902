//! What a user writes, made valid once at the edge.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{Error, ErrorKind, limits};

/// The text of a message: 1 to 10,000 characters, no NUL, not only white space; kept exactly as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Arc<str>);

impl Content {
    /// Checks the text.
    ///
    /// # Errors
    /// MESSAGE_TOO_LONG over the limit, VALIDATION_FAILED otherwise.
    pub fn new(text: &str) -> Result<Self, Error> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks the text and keeps nothing of it.
    ///
    /// # Errors
    /// As [`Content::new`].
    pub fn check(text: &str) -> Result<(), Error> {
        if text.len() > limits::CONTENT_CHARS_MAX && text.chars().count() > limits::CONTENT_CHARS_MAX {
            let message = format!("a message has at most {} characters", limits::CONTENT_CHARS_MAX);
            return Err(Error::new(ErrorKind::MessageTooLong, message));
        }
        if text.contains('\0') {
            return Err(Error::invalid("content", "must not contain NUL"));
        }
        if text.chars().all(char::is_whitespace) {
            return Err(Error::invalid("content", "must not be empty"));
        }
        Ok(())
    }

    /// From a store: it was checked before it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What people write never reaches a log.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// The sender's idempotency key: 1 to 64 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientMessageId(Arc<str>);

impl ClientMessageId {
    /// Checks the key.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is empty, too long or has control characters.
    pub fn new(text: &str) -> Result<Self, Error> {
        let length = text.chars().take(limits::CLIENT_MESSAGE_ID_CHARS_MAX + 1).count();
        if length == 0 || length > limits::CLIENT_MESSAGE_ID_CHARS_MAX || text.chars().any(char::is_control) {
            return Err(Error::invalid("clientMessageId", "must have 1 to 64 characters, no control characters"));
        }
        Ok(Self(text.into()))
    }

    /// From a store: it was checked before it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client attaches to a message: a JSON object of at most 4 KiB, kept as the text it came as.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Checks the JSON text.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is not an object, too large, or has what strict readers refuse (half a surrogate pair, a
    /// number beyond f64) or more than 32 levels: one of them must not fail over what another sent, and a page of messages
    /// is a few levels deeper than a message.
    pub fn new(json: &str) -> Result<Self, Error> {
        if json.len() > limits::METADATA_BYTES_MAX {
            return Err(Error::invalid("metadata", "must have at most 4096 bytes"));
        }
        // Not as a map of values: a value is where serde_json gives a key of its own a meaning, which readers fail over.
        let Some(value) = serde_json::from_str::<Value>(json).ok().filter(Value::is_object) else {
            return Err(Error::invalid("metadata", "must be a JSON object"));
        };
        if levels(&value) > limits::METADATA_LEVELS_MAX {
            return Err(Error::invalid("metadata", "must have at most 32 levels"));
        }
        Ok(Self(json.into()))
    }

    /// From a store: it was checked before it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn levels(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(levels).max(),
        Value::Object(members) => members.values().map(levels).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} bytes)", self.0.len())
    }
}

/// Checks a short text for people: trimmed, then `1..=max` characters without control characters.
///
/// # Errors
/// VALIDATION_FAILED naming `field`.
pub fn short_text(field: &'static str, text: &str, max: usize) -> Result<String, Error> {
    let text = text.trim();
    let length = text.chars().take(max + 1).count();
    if length == 0 || length > max {
        return Err(Error::invalid(field, format!("must have 1 to {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_as_sent() {
        let text = " \u{202e}a\u{301}\u{200d}\n%_\\ ";
        assert_eq!(Content::new(text).expect("valid").as_str(), text);
    }

    #[test]
    fn content_bounds() {
        assert!(Content::new(&"é".repeat(10_000)).is_ok());
        let error = Content::new(&"a".repeat(10_001)).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::MessageTooLong);
        for text in ["", " \n\t", "a\0b"] {
            assert_eq!(Content::new(text).expect_err(text).kind(), ErrorKind::ValidationFailed);
        }
    }

    #[test]
    fn metadata_is_a_small_object() {
        assert!(Metadata::new(r#"{"a":[1]}"#).is_ok());
        let nested = |levels: usize| format!("{}[]{}", r#"{"a":"#.repeat(levels - 1), "}".repeat(levels - 1));
        assert!(Metadata::new(&nested(32)).is_ok() && Metadata::new(&nested(33)).is_err());
        let deep = format!("{}{}", r#"{"a":"#.repeat(200), "1".to_owned() + &"}".repeat(200));
        for json in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"$serde_json::private::RawValue":1}"#,
            r#"{"a":{"$serde_json::private::RawValue":1}}"#,
            &deep,
            "",
            "[]",
            "1",
            "{",
            "{}x",
            &format!("{{\"a\":\"{}\"}}", "x".repeat(5_000)),
        ] {
            assert!(Metadata::new(json).is_err(), "{json}");
        }
    }
}
