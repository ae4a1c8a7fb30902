//! The switch from replaying to live, in any order of what can happen around it: no gap, no double, nothing foreign.

use std::{collections::HashSet, sync::Arc};

use messenger_core::{ConversationId, Cursor, JournalId, Position, SessionId, Timestamp, UserId};
use messenger_identity::Identity;
use messenger_proto::event::v1::{self as event, conversation_changed::Change, entry::Fact};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    connection::Connection,
    delivery::Delivery,
    frame::WireFormat,
    rooms::{Follow, GoLive, Member, Progress, Rooms},
};

const JOURNAL: JournalId = JournalId(Uuid::from_u128(1));
const CONVERSATIONS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody sends to a conversation.
    Send(usize),
    /// The user is added to a conversation, or removed from it.
    Toggle(usize),
    /// The feed brings the next entry.
    Feed,
    /// The feed breaks and begins anew; the user is to be followed again.
    Break,
    /// The feed answers that it carries the user.
    Follow,
    /// A page of the replay is read: at most so many entries.
    Replay(usize),
    /// The connection wishes to be live.
    GoLive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..CONVERSATIONS).prop_map(Step::Send),
        2 => (0..CONVERSATIONS).prop_map(Step::Toggle),
        8 => Just(Step::Feed),
        1 => Just(Step::Break),
        2 => Just(Step::Follow),
        4 => (1..5usize).prop_map(Step::Replay),
        4 => Just(Step::GoLive),
    ]
}

/// A message service, its feed, and a gateway with one connection.
struct World {
    journal: Vec<event::Entry>,
    /// Position from which the user takes part in each conversation.
    joined: [Option<i64>; CONVERSATIONS],
    left: [Option<i64>; CONVERSATIONS],
    /// Entries the feed brought.
    fed: usize,
    rooms: Rooms,
    connection: Arc<Connection>,
    received: Vec<i64>,
}

fn user() -> UserId {
    UserId::from_uuid(Uuid::from_u128(7))
}

fn conversation(number: usize) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(100 + number as u128))
}

impl World {
    fn new() -> Self {
        let connection = Connection::new(user(), 1, WireFormat::Plain);
        let at = Timestamp::default();
        let identity = Identity { user_id: user(), session_id: SessionId::new(at), issued_at: at, expires_at: at };
        let mut rooms = Rooms::default();
        rooms.restart(JOURNAL, Position(0));
        let member = Member { connection: Arc::clone(&connection), identity, progress: Progress::Behind(Position(0)) };
        rooms.users.entry(user()).or_default().members.push(member);
        let (joined, left) = ([None; CONVERSATIONS], [None; CONVERSATIONS]);
        Self { journal: Vec::new(), joined, left, fed: 0, rooms, connection, received: Vec::new() }
    }

    fn append(&mut self, number: usize, fact: Fact) -> i64 {
        let position = self.journal.len() as i64 + 1;
        let conversation_id = conversation(number).to_string();
        self.journal.push(event::Entry { position, conversation_id, fact: Some(fact) });
        position
    }

    fn send(&mut self, number: usize) {
        let message = Some(event::Message::default());
        self.append(number, Fact::MessageSent(event::MessageSent { message, conversation_type: 2, origin: 0 }));
    }

    fn toggle(&mut self, number: usize) {
        let user_id = user().to_string();
        let change = if self.joined[number].is_none() {
            let participants = vec![event::Participant { user_id, ..Default::default() }];
            Change::ParticipantsAdded(event::ParticipantsAdded { participants })
        } else {
            Change::ParticipantRemoved(event::ParticipantRemoved { user_id, ..Default::default() })
        };
        let changed =
            event::ConversationChanged { conversation: Some(event::Conversation::default()), change: Some(change) };
        let position = self.append(number, Fact::ConversationChanged(changed));
        (self.joined[number], self.left[number]) = match self.joined[number] {
            None => (Some(position), None),
            Some(_) => (None, Some(position)),
        };
    }

    /// The membership as it was when the feed was at its present place.
    fn followed_conversations(&self) -> HashSet<ConversationId> {
        let mut conversations = HashSet::new();
        for entry in &self.journal[..self.fed] {
            let id = entry.conversation_id.parse().expect("a UUID");
            match entry.fact.as_ref() {
                Some(Fact::ConversationChanged(changed)) => match changed.change {
                    Some(Change::ParticipantsAdded(_)) => conversations.insert(id),
                    _ => conversations.remove(&id),
                },
                _ => true,
            };
        }
        conversations
    }

    /// What the message service replays: current memberships from joining on, and own removals.
    fn replay(&mut self, entries_max: usize) {
        let Some(Progress::Behind(reached)) = self.rooms.member(&self.connection).map(|member| member.progress) else {
            return;
        };
        let mut page_end = self.journal.len() as i64;
        let mut found = Vec::new();
        for entry in self.journal.iter().skip(reached.0 as usize) {
            let number = (0..CONVERSATIONS).find(|n| conversation(*n).to_string() == entry.conversation_id);
            let number = number.expect("one of ours");
            let is_own = self.joined[number].is_some_and(|from| entry.position >= from)
                || self.left[number] == Some(entry.position);
            if is_own && found.len() == entries_max {
                page_end = found.last().copied().unwrap_or(reached.0);
                break;
            }
            if is_own {
                found.push(entry.position);
            }
        }
        self.received.extend(found);
        let member = self.rooms.member(&self.connection).expect("there");
        member.progress = Progress::Behind(Position(page_end));
    }

    fn go_live(&mut self) -> bool {
        match self.rooms.member(&self.connection).map(|member| member.progress) {
            Some(Progress::Behind(reached)) => {
                matches!(self.rooms.go_live(&self.connection, reached, |_| ()), GoLive::Live(_))
            }
            _ => true,
        }
    }

    fn feed(&mut self) {
        let Some(entry) = self.journal.get(self.fed).cloned() else { return };
        self.fed += 1;
        let delivery = Delivery::new(&entry, JOURNAL).expect("known");
        self.rooms.apply(&entry, delivery);
        self.take_queued();
    }

    fn follow(&mut self) {
        let conversations = self.followed_conversations();
        let room = self.rooms.users.get(&user()).expect("there");
        if room.follow != Follow::Following {
            self.rooms.follow(user(), Position(self.fed as i64), conversations);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(number) => self.send(number),
            Step::Toggle(number) => self.toggle(number),
            Step::Feed => self.feed(),
            Step::Break => {
                // The next stream may begin further on: what lies between is only in the journal.
                self.fed = self.journal.len();
                self.rooms.restart(JOURNAL, Position(self.fed as i64));
            }
            Step::Follow => self.follow(),
            Step::Replay(entries_max) => self.replay(entries_max),
            Step::GoLive => {
                self.go_live();
                self.take_queued();
            }
        }
    }

    fn take_queued(&mut self) {
        for frame in self.connection.outbound.take(usize::MAX) {
            let frame: serde_json::Value = serde_json::from_slice(frame.as_bytes()).expect("JSON");
            let cursor = Cursor::decode(frame["cursor"].as_str().expect("durable")).expect("ours");
            self.received.push(cursor.position.0);
        }
    }

    fn come_to_rest(&mut self) {
        self.follow();
        for _ in 0..10 {
            if self.go_live() {
                break;
            }
            self.take_queued();
            self.replay(usize::MAX);
        }
        assert!(self.go_live(), "a connection that reads on becomes live");
        self.take_queued();
        while self.fed < self.journal.len() {
            self.feed();
        }
    }

    /// Whether the user took part when the entry was written; the entries that change it count.
    fn concerned(&self, entry: &event::Entry) -> bool {
        let mut takes_part = false;
        for before in self.journal.iter().filter(|before| before.conversation_id == entry.conversation_id) {
            let changes = matches!(before.fact, Some(Fact::ConversationChanged(_)));
            if before.position == entry.position {
                return takes_part || changes;
            }
            takes_part ^= changes;
        }
        unreachable!("the entry is in the journal")
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.received.is_sorted_by(|one, next| one < next), "in order, once: {:?}", self.received);
        for entry in &self.journal {
            let is_received = self.received.contains(&entry.position);
            prop_assert!(!is_received || self.concerned(entry), "{} is foreign", entry.position);
            let number = (0..CONVERSATIONS).find(|n| conversation(*n).to_string() == entry.conversation_id);
            let is_due = self.joined[number.expect("one of ours")].is_some_and(|from| entry.position >= from);
            prop_assert!(is_received || !is_due, "{} is missing in {:?}", entry.position, self.received);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_doubled_or_leaked(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
        world.check()?;
    }
}
