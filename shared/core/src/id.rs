//! Identifiers: UUIDs that cannot be mistaken for each other.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{Error, Timestamp};

/// A UUID that names a `K`.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// What a [`UserId`] names: an account.
pub enum User {}
/// What a [`SessionId`] names: one login on one device.
pub enum Session {}
/// What a [`ConversationId`] names.
pub enum Conversation {}
/// What a [`ParticipantId`] names: a user in a conversation.
pub enum Participant {}
/// What a [`MessageId`] names.
pub enum Message {}

/// Names an account.
pub type UserId = Id<User>;
/// Names one login on one device.
pub type SessionId = Id<Session>;
/// Names a conversation.
pub type ConversationId = Id<Conversation>;
/// Names a user's part in a conversation.
pub type ParticipantId = Id<Participant>;
/// Names a message.
pub type MessageId = Id<Message>;

impl<K> Id<K> {
    /// A new UUID v7: the milliseconds of `now`, the rest random.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = now.as_millis().max(0).cast_unsigned();
        let time = uuid::Timestamp::from_unix_time(millis / 1_000, (millis % 1_000) as u32 * 1_000_000, 0, 0);
        Self::from_uuid(Uuid::new_v7(time))
    }

    /// The id with this UUID.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The UUID itself.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// Reads an id from its hyphenated form; `field` names it in the error.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is not a hyphenated UUID (36 characters).
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
        if text.len() == 36
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self::from_uuid(uuid));
        }
        Err(Error::invalid(field, "must be a UUID"))
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
impl<K> FromStr for Id<K> {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse("id", text)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_sort_by_their_millisecond() {
        let early = UserId::new(Timestamp::from_millis(1_000));
        let late = UserId::new(Timestamp::from_millis(2_000));
        assert!(early < late);
        assert_eq!(early.uuid().get_version_num(), 7);
    }

    #[test]
    fn only_the_hyphenated_form_is_read() {
        for text in ["", "x", "0191d3c88f7b7f008000000000000000", "{0191d3c8-8f7b-7f00-8000-000000000000}"] {
            assert!(UserId::parse("userId", text).is_err(), "{text}");
        }
        assert!(UserId::parse("userId", "0191d3c8-8f7b-7f00-8000-000000000000").is_ok());
    }
}
