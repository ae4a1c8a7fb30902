//! Entries of one commit, as the bus carries them.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use messenger_bus::Carried;
use messenger_core::{Error, Position, Result};
use messenger_proto::{event::v1 as event, message::v1::Entries};
use prost::Message as _;

use crate::{convert, model::Entry, pieces::entry_bytes};

/// An entry for everybody it concerns: encoded once, when the first of them is told.
#[derive(Debug)]
pub struct SharedEntry {
    entry: Entry,
    encoded: OnceLock<Bytes>,
}

impl SharedEntry {
    /// As a `messenger.event.v1.Entry`.
    pub fn encoded(&self) -> Bytes {
        self.encoded.get_or_init(|| convert::entry(&self.entry).encode_to_vec().into()).clone()
    }

    /// Bytes it takes as long as somebody has it, about: as it is, and encoded.
    pub fn bytes(&self) -> usize {
        2 * entry_bytes(&self.entry)
    }
}

impl Deref for SharedEntry {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

/// Entries of one commit (or of a stretch of the journal) in the order of their positions. Each is shared by itself: who
/// is slow to read one keeps no others.
#[derive(Debug)]
pub struct EntryBatch(pub(crate) Vec<Arc<SharedEntry>>);

impl FromIterator<Entry> for EntryBatch {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let shared = |entry| Arc::new(SharedEntry { entry, encoded: OnceLock::new() });
        Self(entries.into_iter().map(shared).collect())
    }
}

/// An entry of another process; it goes on as it came.
fn received(encoded: Bytes) -> Result<Arc<SharedEntry>> {
    let entry = convert::from_entry(event::Entry::decode(encoded.clone()).map_err(Error::internal)?)?;
    Ok(Arc::new(SharedEntry { entry, encoded: OnceLock::from(encoded) }))
}

impl Carried for EntryBatch {
    fn encode(&self) -> Vec<u8> {
        let position = self.0.last().map_or(Position::default(), |entry| entry.position);
        Entries { entries: self.0.iter().map(|entry| entry.encoded()).collect(), position: position.0 }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let entries = Entries::decode(bytes).map_err(Error::internal)?.entries;
        entries.into_iter().map(received).collect::<Result<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use messenger_core::{ClientMessageId, Content, ConversationType, Id, Metadata, Timestamp, limits};
    use uuid::Uuid;

    use super::*;
    use crate::model::{Fact, Message};

    fn id<K>(number: u128) -> Id<K> {
        Id::from_uuid(Uuid::from_u128(number))
    }

    /// Stored when limits were other ones.
    fn entry() -> Entry {
        let message = Message {
            id: id(1),
            conversation_id: id(2),
            seq: 3,
            sender_id: id(4),
            content: Content::from_stored("x".repeat(limits::CONTENT_CHARS_MAX + 1)),
            created_at: Timestamp::from_millis(5),
            client_message_id: Some(ClientMessageId::from_stored("k".repeat(limits::CLIENT_MESSAGE_ID_CHARS_MAX + 1))),
            reply_to_id: Some(id(6)),
            metadata: Some(Metadata::from_stored("{".to_owned())),
        };
        let fact = Fact::MessageSent { message, conversation_type: ConversationType::Group, origin: 7 };
        Entry { position: Position(8), conversation_id: id(2), fact }
    }

    #[test]
    fn what_was_stored_is_taken_as_it_is() {
        let batch = EntryBatch::from_iter([entry()]);
        let received = EntryBatch::decode(&batch.encode()).expect("an entry");
        assert_eq!(**received.0[0], entry());
        assert_eq!(received.0[0].encoded(), batch.0[0].encoded());
    }

    #[test]
    fn a_batch_with_an_entry_that_says_nothing_is_refused() {
        let silent = event::Entry { fact: None, ..convert::entry(&entry()) };
        let entries = [convert::entry(&entry()), silent].iter().map(|entry| entry.encode_to_vec().into()).collect();
        assert!(EntryBatch::decode(&Entries { entries, position: 8 }.encode_to_vec()).is_err());
    }
}
