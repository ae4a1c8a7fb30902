//! What one client saw of the journal, compared with it at every event.

use std::collections::BTreeSet;

use messenger_core::{ConversationId, ConversationType, Cursor, Position, UserId};
use messenger_message::model::{Entry, Fact};

use super::journal::{Journal, kind_of};

pub(super) struct Log {
    pub(super) user: UserId,
    pub(super) origin: i64,
    /// What the client would come back with.
    pub(super) cursor: Option<Cursor>,
    /// It asked with `sync` and keeps its cursor until that is over.
    pub(super) is_syncing: bool,
    /// Left out by a replay, to be named in `sync_completed`.
    limited: Vec<ConversationId>,
    /// Everything up to here is known to have been received: when a client fetches anew, what there is then.
    complete_to: Position,
    received: BTreeSet<Position>,
    /// What replays may leave out, or the client fetched.
    excused: BTreeSet<Position>,
    /// On the connection at hand.
    on_connection: BTreeSet<Position>,
    /// Where that one resumed.
    resumed_after: Position,
}

/// A frame as far as the log minds.
pub(super) struct Seen<'a> {
    pub(super) event: &'a str,
    pub(super) cursor: Option<&'a str>,
    pub(super) text: &'a str,
}

impl Log {
    pub(super) fn new(user: UserId, origin: i64) -> Self {
        Self {
            user,
            origin,
            cursor: None,
            is_syncing: false,
            limited: Vec::new(),
            complete_to: Position(0),
            received: BTreeSet::new(),
            excused: BTreeSet::new(),
            on_connection: BTreeSet::new(),
            resumed_after: Position(0),
        }
    }

    /// A connection is open: it goes on after the client's cursor, or begins at another, and the client fetches.
    pub(super) fn connected(&mut self, begun: Option<Cursor>) {
        self.on_connection.clear();
        self.limited.clear();
        if let Some(begun) = begun {
            self.start_anew(begun.position);
            self.cursor = Some(begun);
        }
        self.resumed_after = self.cursor.map_or(Position(0), |cursor| cursor.position);
    }

    /// A connection is open that begins somewhere; what lies between comes when the client asks with `sync`.
    pub(super) fn connected_to_sync(&mut self) {
        self.on_connection.clear();
        self.limited.clear();
        (self.is_syncing, self.resumed_after) = (true, Position(0));
    }

    fn start_anew(&mut self, complete_to: Position) {
        (self.complete_to, self.is_syncing) = (complete_to, false);
        self.received.clear();
        self.excused.clear();
    }

    /// A page of a replay arrived at its gateway.
    pub(super) fn replayed(&mut self, left_out: Vec<Position>, limited: impl Iterator<Item = ConversationId>) {
        self.excused.extend(left_out);
        self.limited.extend(limited);
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>, journal: &Journal) {
        match (seen.event, seen.cursor) {
            (_, Some(cursor)) => self.see_entry(seen, Cursor::decode(cursor).expect("ours"), journal),
            ("sync_completed", None) => self.see_sync_completed(seen.text, journal),
            ("resync_required", None) => {
                // The client fetches everything there is.
                self.start_anew(journal.head);
                self.cursor = None;
                self.on_connection.clear();
                self.resumed_after = Position(0);
                self.limited.clear();
            }
            ("error", None) => {}
            (other, None) => panic!("an event without a cursor: {other}"),
        }
    }

    fn see_entry(&mut self, seen: &Seen<'_>, cursor: Cursor, journal: &Journal) {
        let position = cursor.position;
        let entry = journal.entry(position);
        assert!(journal.concerns(self.user, entry), "unauthorised: {position} is not for {}", self.user);
        assert!(self.on_connection.insert(position), "twice on one connection: {position}");
        if !self.is_syncing {
            let last = self.on_connection.last();
            assert_eq!(last, Some(&position), "reordered");
            assert!(position > self.resumed_after, "{position} was before the cursor");
        }
        self.check_content(seen, entry);
        self.received.insert(position);
        if !self.is_syncing {
            self.check_to(position, journal);
            self.cursor = Some(cursor);
        }
    }

    fn check_content(&self, seen: &Seen<'_>, entry: &Entry) {
        let name = match &entry.fact {
            Fact::MessageSent { origin, .. } => {
                let text = format!("\"at {}.\"", entry.position.0);
                assert!(seen.text.contains(&text), "{text} is not in {}", seen.text);
                let is_own = kind_of(entry.conversation_id) == ConversationType::P2p && *origin == self.origin;
                if is_own { "message_sent" } else { "new_message" }
            }
            Fact::ConversationChanged(_) => return,
        };
        assert_eq!(seen.event, name);
        assert!(seen.text.contains(&entry.conversation_id.to_string()));
    }

    fn see_sync_completed(&mut self, text: &str, journal: &Journal) {
        let cursor = text.split("\"cursor\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let cursor = Cursor::decode(cursor.expect("it has a cursor")).expect("ours");
        for id in std::mem::take(&mut self.limited) {
            assert!(text.contains(&id.to_string()), "{id} was left out silently: {text}");
            // The client pages the history.
            let all = journal.between(Position(0), journal.head).iter();
            self.excused.extend(all.filter(|entry| entry.conversation_id == id).map(|entry| entry.position));
        }
        self.is_syncing = false;
        self.check_to(cursor.position, journal);
        self.cursor = Some(cursor);
    }

    /// Everything up to here was received.
    fn check_to(&mut self, position: Position, journal: &Journal) {
        if let Some(lost) = self.missing(position, journal) {
            panic!("lost: {lost} for {}, told that it has everything to {position}", self.user);
        }
        self.complete_to = self.complete_to.max(position);
    }

    fn missing(&self, position: Position, journal: &Journal) -> Option<Position> {
        let mut due = journal.between(self.complete_to, position).iter();
        let is_known = |at| self.received.contains(at) || self.excused.contains(at);
        due.find(|entry| !is_known(&entry.position) && journal.concerns(self.user, entry)).map(|entry| entry.position)
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self, journal: &Journal) -> bool {
        self.limited.is_empty() && !self.is_syncing && self.missing(journal.head, journal).is_none()
    }

    pub(super) fn check_complete(&mut self, journal: &Journal) {
        assert!(self.limited.is_empty() && !self.is_syncing, "no sync_completed");
        self.check_to(journal.head, journal);
    }
}
