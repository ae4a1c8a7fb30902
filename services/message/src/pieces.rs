//! How much fits into one answer: what is too large for a client to decode is sent in pieces.

use std::collections::VecDeque;

use crate::model::{ConversationState, Entry, Fact, Message};

/// Bytes of text in one answer, well below what a client decodes.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What a message or entry costs beside its text.
const OVERHEAD_BYTES: usize = 256;

/// Bytes a message takes, about.
pub(crate) fn message_bytes(message: &Message) -> usize {
    OVERHEAD_BYTES + message.content.as_str().len() + message.metadata.as_ref().map_or(0, |json| json.as_str().len())
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
