//! An entry of the journal on its way to connections: its JSON is made once, each wire's frame at most once.

use messenger_core::{ConversationId, Cursor, JournalId, Position};
use messenger_proto::event::v1 as event;

use super::{
    connection::Connection,
    frame::{Frame, WireFormat, json},
};
use crate::objects::EventObject;

/// A durable event, ready to be framed for whoever it concerns.
#[derive(Debug)]
pub struct Delivery {
    /// Of the entry in the journal.
    pub position: Position,
    /// Whose room it goes to.
    pub conversation_id: ConversationId,
    name: &'static str,
    body: Vec<u8>,
    cursor: String,
    /// The connection whose P2P message this is: there it is called `message_sent`.
    sent_by: Option<i64>,
    frames: [Option<Frame>; WireFormat::ALL.len()],
}

impl Delivery {
    /// None when the entry is of a kind newer than this gateway.
    #[must_use]
    pub fn new(entry: &event::Entry, journal: JournalId) -> Option<Self> {
        let object = EventObject::of(entry)?;
        let position = Position(entry.position);
        Some(Self {
            position,
            conversation_id: entry.conversation_id.parse().ok()?,
            name: object.name(),
            body: json(&object),
            cursor: Cursor { journal, position }.encode(),
            sent_by: p2p_origin(entry),
            frames: [None, None],
        })
    }

    /// The frame for this connection.
    pub fn frame_for(&mut self, connection: &Connection) -> Frame {
        if self.sent_by == Some(connection.origin) {
            return Frame::event(connection.wire, "message_sent", &self.body, Some(&self.cursor));
        }
        let frame = &mut self.frames[connection.wire as usize];
        frame.get_or_insert_with(|| Frame::event(connection.wire, self.name, &self.body, Some(&self.cursor))).clone()
    }

    /// About what it occupies, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        (self.frames.iter().flatten().count() + 1) * self.body.len() + size_of::<Self>()
    }
}

fn p2p_origin(entry: &event::Entry) -> Option<i64> {
    let Some(event::entry::Fact::MessageSent(sent)) = &entry.fact else {
        return None;
    };
    let is_p2p = sent.conversation_type() == event::ConversationType::P2p;
    (is_p2p && sent.origin != 0).then_some(sent.origin)
}
