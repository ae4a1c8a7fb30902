//! What a connection missed, a page at a time as its queue drains. No I/O: it says which page is to be read.

use std::{collections::VecDeque, time::Duration};

use messenger_core::{Cursor, Position};
use messenger_proto::{
    event::v1::Entry,
    message::v1::{LimitedConversation, ReplayRequest, ReplayResponse},
};
use serde::Serialize;

use super::{
    connection::Connection,
    delivery::Delivery,
    frame::{Frame, json},
    reply::Request,
};
use crate::objects::LimitedObject;

/// Entries on a page: 50 of the largest messages stay below the 4 MiB an answer may have.
const PAGE_ENTRIES: i32 = 50;

/// A connection's way back to now.
pub(super) struct Replay {
    /// Where the next page begins.
    cursor: Cursor,
    /// Read, not queued yet.
    entries: VecDeque<Entry>,
    has_more: bool,
    /// Only the first page says what has to be left out of the others.
    is_first: bool,
    /// Entries to ask for: fewer after a failure, for a page may have been too large to be answered.
    page_entries: i32,
    reading: Reading,
    /// Was sent on this connection already: above the first, up to the second.
    sent: Option<(Position, Position)>,
    limited: Vec<LimitedConversation>,
    announce: Announce,
}

/// Whether a page is being read.
enum Reading {
    No,
    /// It is to be, after a pause.
    Due(Duration),
    Yes,
}

/// Who hears that it is over.
enum Announce {
    /// Nobody: the gap was ours.
    Nobody,
    /// The client, which came back with a cursor.
    Client,
    /// The client, which asked with `sync`.
    Asked(Request),
}

/// `sync_completed`
#[derive(Serialize)]
struct SyncCompleted<'a> {
    cursor: &'a str,
    limited: Vec<LimitedObject<'a>>,
}

/// The request for the first page after a cursor.
pub(super) fn first_page(cursor: Cursor) -> ReplayRequest {
    ReplayRequest {
        cursor: cursor.encode(),
        page_size: PAGE_ENTRIES,
        first_page: true,
        excluded_conversation_ids: Vec::new(),
    }
}

impl Replay {
    fn new(cursor: Cursor, announce: Announce) -> Self {
        Self {
            cursor,
            entries: VecDeque::new(),
            has_more: true,
            is_first: false,
            page_entries: PAGE_ENTRIES,
            reading: Reading::No,
            sent: None,
            limited: Vec::new(),
            announce,
        }
    }

    /// For a client that came back; `page` is the first.
    pub(super) fn resume(cursor: Cursor, page: ReplayResponse) -> Self {
        let mut replay = Self::new(cursor, Announce::Client);
        replay.take(page);
        replay
    }

    /// For a connection that was live up to the cursor. Perhaps it missed nothing, the hub knows: no page is due.
    pub(super) fn heal(cursor: Cursor) -> Self {
        Self { has_more: false, ..Self::new(cursor, Announce::Nobody) }
    }

    /// For a client that asks with `sync`; `sent` was sent on its connection: above the first, up to the second.
    pub(super) fn asked(cursor: Cursor, sent: (Position, Position), request: &Request) -> Self {
        Self { sent: Some(sent), is_first: true, ..Self::new(cursor, Announce::Asked(request.clone())) }
    }

    /// The same when nothing was missed: the cursor is where the connection is.
    pub(super) fn asked_in_vain(cursor: Cursor, request: &Request) -> Self {
        Self { has_more: false, ..Self::new(cursor, Announce::Asked(request.clone())) }
    }

    /// Where it is: all before was taken.
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Who asked for it with `sync`.
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.announce {
            Announce::Asked(request) => Some(request),
            Announce::Nobody | Announce::Client => None,
        }
    }

    /// A page was read.
    pub(super) fn take(&mut self, page: ReplayResponse) {
        (self.reading, self.is_first, self.page_entries) = (Reading::No, false, PAGE_ENTRIES);
        self.cursor.position = Position(page.position);
        self.entries = page.entries.into();
        self.has_more = page.has_more;
        if !page.limited.is_empty() {
            self.limited = page.limited;
        }
    }

    /// A page could not be read: a smaller one is due after a pause.
    pub(super) fn retry(&mut self, pause: Duration) {
        (self.page_entries, self.reading) = ((self.page_entries / 2).max(1), Reading::Due(pause));
    }

    /// A page is due.
    pub(super) fn read_on(&mut self) {
        self.reading = Reading::Due(Duration::ZERO);
    }

    /// Whether a page is being read or due.
    pub(super) fn is_reading(&self) -> bool {
        !matches!(self.reading, Reading::No)
    }

    /// Whether the page before said that another follows.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// The page that is due, to be read after the pause.
    pub(super) fn due(&mut self) -> Option<(ReplayRequest, Duration)> {
        let Reading::Due(pause) = self.reading else { return None };
        self.reading = Reading::Yes;
        let request = ReplayRequest {
            cursor: self.cursor.encode(),
            page_size: self.page_entries,
            first_page: self.is_first,
            excluded_conversation_ids: self.limited.iter().map(|limited| limited.conversation_id.clone()).collect(),
        };
        Some((request, pause))
    }

    /// Queues what was read; false when the queue has no room for more now.
    pub(super) fn queue(&mut self, connection: &Connection) -> bool {
        while let Some(entry) = self.entries.front() {
            if !connection.outbound.has_room() {
                return false;
            }
            let position = Position(entry.position);
            let is_sent = self.sent.is_some_and(|(after, to)| position > after && position <= to);
            if !is_sent && let Some(mut delivery) = Delivery::new(entry, self.cursor.journal) {
                connection.outbound.push(delivery.frame_for(connection));
            }
            self.entries.pop_front();
        }
        true
    }

    /// Tells who is to hear it that everything up to `reached` was queued.
    pub(super) fn complete(&self, connection: &Connection, reached: Position) {
        if matches!(self.announce, Announce::Nobody) {
            return;
        }
        let cursor = Cursor { position: reached, ..self.cursor }.encode();
        let completed = SyncCompleted { cursor: &cursor, limited: self.limited.iter().map(Into::into).collect() };
        connection.outbound.push(Frame::event(connection.wire, "sync_completed", &json(&completed), None));
        if let Announce::Asked(request) = &self.announce {
            request.succeed(&completed);
        }
    }
}
