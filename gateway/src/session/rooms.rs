//! Who is in which room here, and how far each connection is: plain state, changed by the hub under its lock.
//!
//! Rooms are `user:{id}` (all connections of a user) and `conversation:{id}` (the users online here who take part).
//! A connection is live (the feed is delivered to it) or replaying (its session reads what it missed).

use std::sync::Arc;

use messenger_core::{Bug, ConversationId, Cursor, IdMap, IdSet, JournalId, Position, UserId, is_seeded};
use messenger_identity::Identity;
use messenger_proto::event::v1::{self as event, conversation_changed::Change};

use super::{connection::Connection, delivery::Delivery, recent::Recent};

/// All rooms of this gateway.
#[derive(Debug, Default)]
pub struct Rooms {
    pub(super) users: IdMap<UserId, UserRoom>,
    conversations: IdMap<ConversationId, IdSet<UserId>>,
    recent: Recent,
    /// The journal the feed is of; none before the first stream.
    pub(super) journal: Option<JournalId>,
    /// Everything up to here was delivered to the live.
    pub(super) position: Position,
}

/// `user:{id}`
#[derive(Debug, Default)]
pub struct UserRoom {
    pub(super) members: Vec<Member>,
    pub(super) follow: Follow,
    conversations: IdSet<ConversationId>,
    /// Where the feed of this user begins, or its memberships last changed: below it, only a replay knows.
    settled_from: Position,
}

/// Whether the feed carries a user's entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// To be asked for.
    #[default]
    Wanted,
    /// Asked for, not answered.
    Asked,
    /// It does.
    Following,
}

/// A connection in its user's room.
#[derive(Debug)]
pub struct Member {
    pub(super) connection: Arc<Connection>,
    pub(super) identity: Identity,
    pub(super) progress: Progress,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to here was queued to it, what follows is delivered.
    Live(Position),
    /// Everything up to here was queued while it was live; its session reads the rest.
    Behind(Position),
    /// It was live in another journal: what it missed cannot be known.
    Lost,
}

/// What came of a wish to be live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoLive {
    /// It is, from this position.
    Live(Position),
    /// The feed does not carry the user yet; the session gets attention when it does.
    NotYet,
    /// There is more to read first.
    ReadOn,
}

impl Rooms {
    /// A new stream of the feed begins: nobody is followed, everybody who was live reads what the change missed.
    pub fn restart(&mut self, journal: JournalId, position: Position) {
        let same = self.journal == Some(journal);
        for room in self.users.values_mut() {
            room.follow = Follow::Wanted;
            room.conversations = IdSet::default();
            for member in &mut room.members {
                member.progress = match member.progress {
                    Progress::Live(sent) if same => Progress::Behind(sent.max(self.position)),
                    Progress::Behind(reached) if same => Progress::Behind(reached),
                    // A position of another journal says nothing.
                    _ => Progress::Lost,
                };
                member.connection.outbound.call_attention();
            }
        }
        self.conversations = IdMap::default();
        self.recent.restart(position);
        (self.journal, self.position) = (Some(journal), position);
    }

    /// The feed carries the user from `position` on. False when nobody of the user is here any more.
    pub fn follow(&mut self, user_id: UserId, position: Position, conversations: IdSet<ConversationId>) -> bool {
        let Some(room) = self.users.get_mut(&user_id) else { return false };
        for conversation_id in &conversations {
            self.conversations.entry(*conversation_id).or_default().insert(user_id);
        }
        room.conversations = conversations;
        room.settled_from = position;
        room.follow = Follow::Following;
        for member in &room.members {
            member.connection.outbound.call_attention();
        }
        !room.members.is_empty()
    }

    /// Forgets a user nobody is here of.
    pub fn forget(&mut self, user_id: UserId) {
        let Some(room) = self.users.remove(&user_id) else { return };
        for conversation_id in room.conversations {
            self.leave(conversation_id, user_id);
        }
    }

    /// Delivers an entry to the live connections it concerns. Whoever it adds hears it, whoever it removes too.
    pub fn apply(&mut self, entry: &event::Entry, mut delivery: Delivery) {
        let (position, conversation_id) = (delivery.position, delivery.conversation_id);
        for user_id in added_by(entry) {
            self.change(user_id, position, |rooms, user_id| rooms.enter(conversation_id, user_id));
        }
        if let Some(users) = self.conversations.get(&conversation_id) {
            for user_id in users {
                if let Some(room) = self.users.get_mut(user_id) {
                    room.deliver(&mut delivery);
                }
            }
        }
        if let Some(user_id) = removed_by(entry).filter(|_| !is_seeded(Bug::EmitAfterRemove)) {
            self.change(user_id, position, |rooms, user_id| {
                rooms.leave(conversation_id, user_id);
                if let Some(room) = rooms.users.get_mut(&user_id) {
                    room.conversations.remove(&conversation_id);
                }
            });
        }
        self.recent.add(delivery);
        self.position = self.position.max(position);
    }

    /// Memberships of users the feed carries only, and only what is newer than what is known of them.
    fn change(&mut self, user_id: UserId, position: Position, apply: impl FnOnce(&mut Self, UserId)) {
        if let Some(room) = self.users.get_mut(&user_id)
            && room.follow == Follow::Following
            && position > room.settled_from
        {
            room.settled_from = position;
            apply(self, user_id);
        }
    }

    fn enter(&mut self, conversation_id: ConversationId, user_id: UserId) {
        self.conversations.entry(conversation_id).or_default().insert(user_id);
        if let Some(room) = self.users.get_mut(&user_id) {
            room.conversations.insert(conversation_id);
        }
    }

    fn leave(&mut self, conversation_id: ConversationId, user_id: UserId) {
        if let Some(users) = self.conversations.get_mut(&conversation_id) {
            users.remove(&user_id);
            if users.is_empty() {
                self.conversations.remove(&conversation_id);
            }
        }
    }

    /// Makes a connection live from the cursor on, queueing what was delivered meanwhile: no gap, no double.
    /// `on_live` queues what is to stand between the two.
    pub fn go_live(&mut self, connection: &Connection, cursor: Cursor, on_live: impl FnOnce(Position)) -> GoLive {
        // Where it is in another journal says nothing: the service answers that, and the client is told.
        if self.journal.is_some_and(|journal| journal != cursor.journal) {
            return GoLive::ReadOn;
        }
        self.go_live_from(connection, cursor.position, on_live)
    }

    fn go_live_from(&mut self, connection: &Connection, reached: Position, on_live: impl FnOnce(Position)) -> GoLive {
        let Some(room) = self.users.get_mut(&connection.user_id) else { return GoLive::NotYet };
        if room.follow != Follow::Following {
            return GoLive::NotYet;
        }
        if reached < room.settled_from {
            return GoLive::ReadOn;
        }
        let Some(newer) = self.recent.after(reached) else { return GoLive::ReadOn };
        let Some(member) = room.members.iter_mut().find(|member| member.is(connection)) else {
            return GoLive::NotYet;
        };
        member.progress = Progress::Live(reached);
        on_live(reached);
        for delivery in newer {
            if room.conversations.contains(&delivery.conversation_id) || is_seeded(Bug::ResumeWithoutMembership) {
                member.deliver(delivery);
            }
        }
        GoLive::Live(reached)
    }

    /// Makes a connection live from now on, whatever was before.
    pub fn go_live_at_head(&mut self, connection: &Connection, on_live: impl FnOnce(Position)) -> GoLive {
        let Some(room) = self.users.get(&connection.user_id) else { return GoLive::NotYet };
        let head = self.position.max(room.settled_from);
        self.go_live_from(connection, head, on_live)
    }

    /// The member that is this connection.
    pub fn member(&mut self, connection: &Connection) -> Option<&mut Member> {
        let room = self.users.get_mut(&connection.user_id)?;
        room.members.iter_mut().find(|member| member.is(connection))
    }

    /// The live connections in a conversation's room.
    pub fn live_in(&self, conversation_id: ConversationId) -> impl Iterator<Item = &Connection> {
        let users = self.conversations.get(&conversation_id).into_iter().flatten();
        users.flat_map(|user_id| self.live_of(*user_id))
    }

    /// The live connections of a user.
    pub fn live_of(&self, user_id: UserId) -> impl Iterator<Item = &Connection> {
        let members = self.users.get(&user_id).into_iter().flat_map(|room| &room.members);
        members.filter(|member| matches!(member.progress, Progress::Live(_))).map(|member| &*member.connection)
    }
}

impl UserRoom {
    fn deliver(&mut self, delivery: &mut Delivery) {
        for member in &mut self.members {
            member.deliver(delivery);
        }
    }
}

impl Member {
    pub(super) fn is(&self, connection: &Connection) -> bool {
        std::ptr::eq(&raw const *self.connection, connection)
    }

    fn deliver(&mut self, delivery: &mut Delivery) {
        if let Progress::Live(sent) = &mut self.progress
            && *sent < delivery.position
        {
            *sent = delivery.position;
            self.connection.outbound.push(delivery.frame_for(&self.connection));
        }
    }
}

fn change_of(entry: &event::Entry) -> Option<&Change> {
    match entry.fact.as_ref()? {
        event::entry::Fact::ConversationChanged(changed) => changed.change.as_ref(),
        event::entry::Fact::MessageSent(_) => None,
    }
}

fn added_by(entry: &event::Entry) -> impl Iterator<Item = UserId> {
    let participants = match change_of(entry) {
        Some(Change::Created(created)) => created.participants.as_slice(),
        Some(Change::ParticipantsAdded(added)) => added.participants.as_slice(),
        _ => &[],
    };
    participants.iter().filter_map(|participant| participant.user_id.parse().ok())
}

fn removed_by(entry: &event::Entry) -> Option<UserId> {
    match change_of(entry)? {
        Change::ParticipantRemoved(removed) => removed.user_id.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use messenger_core::{SessionId, Timestamp};
    use messenger_identity::Identity;
    use uuid::Uuid;

    use super::*;
    use crate::session::{
        frame::WireFormat,
        hub::{Capacity, Hub},
    };

    /// A backup was restored: the new journal's head lies below where the client was in the old one.
    #[test]
    fn a_position_of_another_journal_makes_nobody_live() {
        let [old, new] = [1, 2].map(|number| JournalId(Uuid::from_u128(number)));
        let user_id = UserId::from_uuid(Uuid::from_u128(9));
        let hub = Arc::new(Hub::new(usize::MAX));
        hub.restart(old, Position(1_000));
        let [replaying, live] = [1, 2].map(|origin| Connection::new(user_id, origin, WireFormat::Plain));
        let identity = Identity {
            user_id,
            session_id: SessionId::from_uuid(Uuid::from_u128(7)),
            issued_at: Timestamp::default(),
            expires_at: Timestamp::default(),
        };
        let capacity = Capacity { per_user: 2, in_all: 2 };
        let _seats = [&replaying, &live].map(|connection| hub.join(connection, &identity, capacity).expect("room"));
        let follow = |position| {
            hub.take_interest();
            hub.follow(user_id, position, IdSet::default());
        };
        follow(Position(1_000));
        let reached = |journal| Cursor { journal, position: Position(1_000) };
        assert_eq!(hub.go_live(&live, reached(old), drop), GoLive::Live(Position(1_000)));
        hub.restart(new, Position(900));
        follow(Position(900));
        assert_eq!(hub.go_live(&replaying, reached(old), drop), GoLive::ReadOn, "the service tells the client");
        assert!(matches!(hub.progress(&live), Some(Progress::Lost)), "it cannot know what it missed");
        assert_eq!(hub.go_live(&replaying, reached(new), drop), GoLive::Live(Position(1_000)));
    }
}
