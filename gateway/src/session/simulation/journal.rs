//! The store as the rest sees it: entries in commit order, who took part when, and what is read of them.

use std::sync::Arc;

use bytes::Bytes;
use messenger_bus::{Carried as _, Publication};
use messenger_core::{
    Content, ConversationId, ConversationType, Cursor, Error, ErrorKind, JournalId, MessageId, Position, Timestamp,
    UserId,
};
use messenger_message::{
    EntryBatch,
    model::{Entry, Fact, Followed, JournalHead, JournalPage, Message},
};
use messenger_proto::{
    event::v1::{self as event, conversation_changed::Change},
    message::v1::{Entries, LimitedConversation, ReplayRequest, ReplayResponse},
};
use prost::Message as _;
use uuid::Uuid;

/// Messages missed in one conversation beyond which it is left out of a replay; small, so that it happens.
const LIMITED_MESSAGES: usize = 60;
/// Entries missed beside those beyond which there is no replay: more than one page.
const REPLAYED_ENTRIES_MAX: usize = 90;
/// Entries on a page of the journal.
const PAGE_ENTRIES: usize = 20;

pub(super) struct Journal {
    pub(super) id: JournalId,
    pub(super) head: Position,
    entries: Vec<Entry>,
    stays: Vec<Stay>,
}

/// A user's part in a conversation, from the entry that begins it to the one that ends it.
struct Stay {
    user: UserId,
    conversation: ConversationId,
    joined: Position,
    left: Option<Position>,
}

/// What is to be appended.
pub(super) enum What {
    Message {
        sender: UserId,
        origin: i64,
    },
    /// Joins, or leaves when it takes part.
    Toggle(UserId),
    Create(Vec<UserId>),
}

/// A page of a replay, and what it left out of what the user would have heard live.
pub(super) struct Page {
    pub(super) response: ReplayResponse,
    pub(super) left_out: Vec<Position>,
}

/// The first is the one with two users.
pub(super) fn conversation(number: usize) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(1_000 + number as u128))
}

pub(super) fn user(number: usize) -> UserId {
    UserId::from_uuid(Uuid::from_u128(1 + number as u128))
}

pub(super) fn kind_of(id: ConversationId) -> ConversationType {
    if id == conversation(0) { ConversationType::P2p } else { ConversationType::Group }
}

impl Journal {
    pub(super) fn new() -> Self {
        let id = JournalId(Uuid::from_u128(1));
        Self { id, head: Position(0), entries: Vec::new(), stays: Vec::new() }
    }

    /// The same journal under another name, as after a restored backup.
    pub(super) fn renew(&mut self) {
        self.id = JournalId(Uuid::from_u128(self.id.0.as_u128() + 1));
    }

    pub(super) fn head(&self) -> JournalHead {
        JournalHead { id: self.id, last: self.head }
    }

    /// One commit. Positions have gaps: `unused` of them at its end.
    pub(super) fn append(&mut self, facts: Vec<(ConversationId, What)>, unused: usize) -> Publication<EntryBatch> {
        let (previous, first) = (self.head, self.entries.len());
        for (conversation_id, what) in facts {
            self.head.0 += 1;
            let fact = match what {
                What::Message { sender, origin } => self.message(conversation_id, sender, origin),
                What::Toggle(user) => self.toggle(conversation_id, user),
                What::Create(users) => self.create(conversation_id, users),
            };
            self.entries.push(Entry { position: self.head, conversation_id, fact });
        }
        self.head.0 += unused as i64;
        let batch = Some(Arc::new(self.entries[first..].iter().cloned().collect()));
        Publication::Entries { previous, last: self.head, batch }
    }

    fn message(&self, conversation_id: ConversationId, sender_id: UserId, origin: i64) -> Fact {
        let message = Message {
            id: MessageId::from_uuid(Uuid::from_u128(self.head.0 as u128)),
            conversation_id,
            seq: self.head.0,
            sender_id,
            content: Content::new(&format!("at {}.", self.head.0)).expect("valid"),
            created_at: Timestamp::default(),
            client_message_id: None,
            reply_to_id: None,
            metadata: None,
        };
        Fact::MessageSent { message, conversation_type: kind_of(conversation_id), origin }
    }

    fn toggle(&mut self, conversation_id: ConversationId, user: UserId) -> Fact {
        let position = self.head;
        let stay = self.stays.iter_mut().find(|stay| stay.is_of(user, conversation_id) && stay.left.is_none());
        let change = if let Some(stay) = stay {
            stay.left = Some(position);
            Change::ParticipantRemoved(event::ParticipantRemoved { user_id: user.to_string(), ..Default::default() })
        } else {
            let participants = vec![self.join(conversation_id, user)];
            Change::ParticipantsAdded(event::ParticipantsAdded { participants })
        };
        changed(conversation_id, change)
    }

    fn create(&mut self, conversation_id: ConversationId, users: Vec<UserId>) -> Fact {
        let participants = users.into_iter().map(|user| self.join(conversation_id, user)).collect();
        changed(conversation_id, Change::Created(event::ConversationCreated { participants }))
    }

    fn join(&mut self, conversation: ConversationId, user: UserId) -> event::Participant {
        self.stays.push(Stay { user, conversation, joined: self.head, left: None });
        event::Participant { user_id: user.to_string(), role: event::Role::Member.into(), ..Default::default() }
    }

    pub(super) fn takes_part(&self, user: UserId, conversation: ConversationId) -> bool {
        self.stays.iter().any(|stay| stay.is_of(user, conversation) && stay.left.is_none())
    }

    /// Whether a user took part when the entry was written; what changes that counts.
    pub(super) fn concerns(&self, user: UserId, entry: &Entry) -> bool {
        self.stays.iter().any(|stay| stay.is_of(user, entry.conversation_id) && stay.has(entry.position))
    }

    /// Entries after the first and up to the second position.
    pub(super) fn between(&self, after: Position, to: Position) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.position <= after);
        let end = self.entries.partition_point(|entry| entry.position <= to);
        &self.entries[first..end.max(first)]
    }

    pub(super) fn entry(&self, position: Position) -> &Entry {
        let index = self.entries.binary_search_by_key(&position, |entry| entry.position);
        &self.entries[index.expect("a cursor of an event names its entry")]
    }
}

/// What message processes read.
impl Journal {
    pub(super) fn read(&self, after: Position) -> JournalPage {
        let entries: Vec<_> = self.between(after, self.head).iter().take(PAGE_ENTRIES).cloned().collect();
        let has_more = entries.len() == PAGE_ENTRIES;
        let complete_to = if has_more { entries[PAGE_ENTRIES - 1].position } else { self.head };
        JournalPage { entries, complete_to, has_more }
    }

    pub(super) fn follow(&self, users: &[UserId]) -> Followed {
        let stays = self.stays.iter().filter(|stay| stay.left.is_none() && users.contains(&stay.user));
        Followed { position: self.head, memberships: stays.map(|stay| (stay.user, stay.conversation)).collect() }
    }

    /// `MessageService.Replay`: what the user would have heard live, but of conversations it was removed from nothing
    /// except its removals.
    pub(super) fn replay(&self, user: UserId, request: &ReplayRequest) -> Result<Page, Error> {
        let cursor = Cursor::decode(&request.cursor)?;
        if cursor.journal != self.id || cursor.position > self.head {
            return Err(Error::new(ErrorKind::ResyncRequired, "the cursor is of another journal"));
        }
        let mut excluded: Vec<ConversationId> =
            request.excluded_conversation_ids.iter().map(|id| id.parse().expect("ours")).collect();
        let limited = if request.first_page { self.limited(user, cursor.position)? } else { Vec::new() };
        excluded.extend(limited.iter().map(|(id, _)| *id));
        let missed = self.between(cursor.position, self.head);
        let own: Vec<&Entry> = missed.iter().filter(|entry| self.is_replayed(user, entry, &excluded)).collect();
        let page = &own[..own.len().min(request.page_size as usize)];
        let has_more = page.len() < own.len();
        let complete_to = page.last().map_or(self.head, |entry| if has_more { entry.position } else { self.head });
        let left_out = self.between(cursor.position, complete_to).iter();
        let left_out = left_out.filter(|entry| self.concerns(user, entry) && !page.contains(entry));
        let limited =
            limited.into_iter().map(|(id, from_seq)| LimitedConversation { conversation_id: id.to_string(), from_seq });
        Ok(Page {
            left_out: left_out.map(|entry| entry.position).collect(),
            response: ReplayResponse {
                entries: encoded(page),
                cursor: Cursor { journal: self.id, position: complete_to }.encode(),
                position: complete_to.0,
                has_more,
                limited: limited.collect(),
            },
        })
    }

    fn limited(&self, user: UserId, after: Position) -> Result<Vec<(ConversationId, i64)>, Error> {
        let mut limited = Vec::new();
        let own = self.between(after, self.head).iter().filter(|entry| self.is_replayed(user, entry, &[]));
        let mut rest: Vec<&Entry> = own.collect();
        for id in (0..3).map(conversation) {
            let of = |entry: &&&Entry| entry.conversation_id == id && matches!(entry.fact, Fact::MessageSent { .. });
            let first_seq = rest.iter().find(of).map_or(0, |entry| entry.position.0);
            if rest.iter().filter(of).count() > LIMITED_MESSAGES {
                limited.push((id, first_seq));
                rest.retain(|entry| !of(&entry));
            }
        }
        if rest.len() > REPLAYED_ENTRIES_MAX {
            return Err(Error::new(ErrorKind::ResyncRequired, "too much was missed"));
        }
        Ok(limited)
    }

    fn is_replayed(&self, user: UserId, entry: &Entry, excluded: &[ConversationId]) -> bool {
        let is_in = self.takes_part(user, entry.conversation_id);
        let stays = self.stays.iter().filter(|stay| stay.is_of(user, entry.conversation_id));
        stays.filter(|stay| stay.has(entry.position)).any(|stay| {
            if is_in { !excluded.contains(&entry.conversation_id) } else { stay.left == Some(entry.position) }
        })
    }
}

impl Stay {
    fn is_of(&self, user: UserId, conversation: ConversationId) -> bool {
        (self.user, self.conversation) == (user, conversation)
    }

    fn has(&self, position: Position) -> bool {
        position >= self.joined && self.left.is_none_or(|left| position <= left)
    }
}

fn changed(id: ConversationId, change: Change) -> Fact {
    let conversation = Some(event::Conversation { id: id.to_string(), ..Default::default() });
    let changed = event::ConversationChanged { conversation, change: Some(change) };
    Fact::ConversationChanged(Bytes::from(changed.encode_to_vec()))
}

fn encoded(entries: &[&Entry]) -> Vec<event::Entry> {
    let batch: EntryBatch = entries.iter().map(|entry| (*entry).clone()).collect();
    let entries = Entries::decode(batch.encode().as_slice()).expect("just encoded").entries;
    entries.into_iter().map(|encoded| event::Entry::decode(encoded).expect("just encoded")).collect()
}
