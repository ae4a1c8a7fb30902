//! How much fits into one answer: what is too large for a client to decode is sent in pieces.

use std::collections::VecDeque;

use crate::model::{ConversationState, Entry, Fact, Message};

/// Bytes of text in one answer, as JSON has it: a page of the longest messages in ASCII, and well below what a client
/// decodes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What a message or entry costs beside its text.
const OVERHEAD_BYTES: usize = 256;

/// Bytes a message takes, about.
pub(crate) fn message_bytes(message: &Message) -> usize {
    let metadata = message.metadata.as_ref().map_or(0, |json| json.as_str().len());
    OVERHEAD_BYTES + json_bytes(message.content.as_str()) + metadata
}

/// Bytes of a text in JSON: a control character is one here and six there.
fn json_bytes(text: &str) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Bytes an entry takes, about.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.fact {
        Fact::MessageSent { message, .. } => message_bytes(message),
        Fact::ConversationChanged(body) => OVERHEAD_BYTES + body.len(),
    }
}

/// Bytes a state takes, about: of its last message.
pub(crate) fn state_bytes(state: &ConversationState) -> usize {
    state.last_message.as_ref().map_or(0, message_bytes)
}

/// How many of the items fit in one answer; at least one.
pub(crate) fn fitting<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> usize {
    let mut total = 0;
    for (index, item) in items.iter().enumerate() {
        total += bytes(item);
        if total > ANSWER_BYTES_MAX {
            return index.max(1);
        }
    }
    items.len()
}

/// All of the items, as many in each piece as fit in one answer.
pub(crate) fn pieces<T, P>(items: &[T], bytes: impl Fn(&T) -> usize, piece: impl Fn(&[T]) -> P) -> VecDeque<P> {
    let mut pieces = VecDeque::with_capacity(1);
    let mut rest = items;
    while !rest.is_empty() {
        let (first, others) = rest.split_at(fitting(rest, &bytes));
        pieces.push_back(piece(first));
        rest = others;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_long_as_in_json() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        let json = serde_json::to_string(&every).expect("a text");
        assert_eq!(json_bytes(&every), json.len() - 2);
    }
}
