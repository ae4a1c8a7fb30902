//! The rooms and connections of this gateway behind one short lock. Delivering is a queue push per receiver.

use std::{
    cmp::Reverse,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use messenger_core::{ConversationId, Cursor, Error, IdSet, JournalId, Position, UserId};
use messenger_identity::{Identity, Revocation};
use messenger_proto::event::v1::{self as event, signal::Signal as Kind};
use tokio::sync::Notify;

use super::{
    connection::Connection,
    delivery::Delivery,
    frame::{Frame, WireFormat, json},
    openings::try_later,
    outbound::CloseReason,
    places::too_many,
    rooms::{Follow, GoLive, Member, Progress, Rooms},
};
use crate::objects::MessageReadObject;

/// Bytes that wait for a connection that is not full: it keeps up, whatever others do.
const FULL_BYTES_MIN: usize = 16 * 1024;

/// Who is connected here and what is delivered to them.
#[derive(Debug)]
pub struct Hub {
    /// Bytes of frames above which the fullest connections go.
    queued_bytes_max: usize,
    state: Mutex<State>,
    interest_changed: Notify,
    emptied: Notify,
    is_fed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    rooms: Rooms,
    /// Users whose part in the feed is to be looked at: they came or the last of them went.
    unsettled: IdSet<UserId>,
    connections: usize,
    is_draining: bool,
}

/// A connection in the hub; dropping it leaves.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
}

/// Users to add to the feed, and to take out of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub(super) add: Vec<UserId>,
    pub(super) remove: Vec<UserId>,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Of one user, without those that are to be closed.
    pub per_user: usize,
    /// In all.
    pub in_all: usize,
}

/// For connections.
impl Hub {
    /// Without connections. Above `queued_bytes_max` bytes of waiting frames the fullest connections are closed.
    #[must_use]
    pub fn new(queued_bytes_max: usize) -> Self {
        let (interest_changed, emptied) = (Notify::new(), Notify::new());
        let (state, is_fed) = (Mutex::default(), AtomicBool::new(false));
        Self { queued_bytes_max, state, interest_changed, emptied, is_fed }
    }

    /// Puts a connection into its user's room, not live. One with the same origin is the same client before: it goes.
    ///
    /// # Errors
    /// DRAINING; RATE_LIMITED when the user has too many; UNAVAILABLE when the gateway has.
    pub fn join(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        identity: &Identity,
        capacity: Capacity,
    ) -> Result<Seat, Error> {
        let mut state = self.lock();
        if state.is_draining {
            return Err(Error::draining());
        }
        if state.connections >= capacity.in_all {
            return Err(try_later("the gateway has as many connections as it takes"));
        }
        let room = state.rooms.users.entry(connection.user_id).or_default();
        for before in room.members.iter().filter(|member| member.connection.origin == connection.origin) {
            before.connection.outbound.close(CloseReason::Replaced);
        }
        let open = room.members.iter().filter(|member| member.connection.outbound.closing().is_none()).count();
        if open >= capacity.per_user {
            return Err(too_many("too many connections of this user"));
        }
        room.members.push(Member {
            connection: Arc::clone(connection),
            identity: *identity,
            progress: Progress::Behind(Position(0)),
        });
        if room.follow == Follow::Wanted {
            state.unsettled.insert(connection.user_id);
            self.interest_changed.notify_one();
        }
        state.connections += 1;
        metrics::gauge!("messenger_connections").increment(1);
        Ok(Seat { hub: Arc::clone(self), connection: Arc::clone(connection) })
    }

    fn leave(&self, connection: &Connection) {
        let mut state = self.lock();
        let Some(room) = state.rooms.users.get_mut(&connection.user_id) else { return };
        room.members.retain(|member| !member.is(connection));
        if room.members.is_empty() {
            state.unsettled.insert(connection.user_id);
            self.interest_changed.notify_one();
        }
        state.connections -= 1;
        metrics::gauge!("messenger_connections").decrement(1);
        if state.connections == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// How far a connection is; none when it left.
    pub fn progress(&self, connection: &Connection) -> Option<Progress> {
        self.lock().rooms.member(connection).map(|member| member.progress)
    }

    /// See [`Rooms::go_live`].
    pub fn go_live(&self, connection: &Connection, cursor: Cursor, on_live: impl FnOnce(Position)) -> GoLive {
        self.lock().rooms.go_live(connection, cursor, on_live)
    }

    /// See [`Rooms::go_live_at_head`].
    pub fn go_live_at_head(&self, connection: &Connection, on_live: impl FnOnce(Position)) -> GoLive {
        self.lock().rooms.go_live_at_head(connection, on_live)
    }

    /// Takes a live connection out of the feed so that it can read what was before; says up to where it had been sent.
    pub fn step_back(&self, connection: &Connection) -> Option<Position> {
        let mut state = self.lock();
        let head = state.rooms.position;
        let member = state.rooms.member(connection)?;
        let Progress::Live(sent) = member.progress else { return None };
        let sent = sent.max(head);
        member.progress = Progress::Behind(sent);
        Some(sent)
    }

    /// The connection goes on with another token of its session.
    pub fn renew(&self, connection: &Connection, identity: &Identity) {
        if let Some(member) = self.lock().rooms.member(connection) {
            member.identity = *identity;
        }
    }

    /// The cursor of a position; none before the feed's first stream.
    pub fn cursor(&self, position: Position) -> Option<Cursor> {
        self.lock().rooms.journal.map(|journal| Cursor { journal, position })
    }

    /// The feed's journal; none before its first stream.
    pub fn journal(&self) -> Option<JournalId> {
        self.lock().rooms.journal
    }
}

/// For the feed.
impl Hub {
    /// A new stream begins: all users are to be added anew.
    pub fn restart(&self, journal: JournalId, position: Position) {
        let mut state = self.lock();
        state.rooms.restart(journal, position);
        state.unsettled = state.rooms.users.keys().copied().collect();
        self.is_fed.store(true, Ordering::Relaxed);
        self.interest_changed.notify_one();
    }

    /// The stream broke: nothing is delivered until the next begins.
    pub fn interrupt(&self) {
        self.is_fed.store(false, Ordering::Relaxed);
    }

    /// Whether the feed is connected.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        self.is_fed.load(Ordering::Relaxed)
    }

    /// Resolves when [`Hub::take_interest`] has something. For one waiter.
    pub async fn interest_changed(&self) {
        self.interest_changed.notified().await;
    }

    /// Whom to add to the stream and whom to take out. A user is taken out only when its addition was answered, so
    /// that an answer never belongs to an earlier addition.
    pub fn take_interest(&self) -> Interest {
        let mut interest = Interest::default();
        let mut state = self.lock();
        for user_id in std::mem::take(&mut state.unsettled) {
            let Some(room) = state.rooms.users.get_mut(&user_id) else { continue };
            match (room.follow, room.members.is_empty()) {
                (Follow::Wanted, false) => {
                    room.follow = Follow::Asked;
                    interest.add.push(user_id);
                }
                (Follow::Following, true) => {
                    state.rooms.forget(user_id);
                    interest.remove.push(user_id);
                }
                (Follow::Wanted, true) => state.rooms.forget(user_id),
                (Follow::Asked, _) | (Follow::Following, false) => {}
            }
        }
        interest
    }

    /// The stream carries the user from `position` on.
    pub fn follow(&self, user_id: UserId, position: Position, conversations: IdSet<ConversationId>) {
        let mut state = self.lock();
        if !state.rooms.follow(user_id, position, conversations) {
            state.unsettled.insert(user_id);
            self.interest_changed.notify_one();
        }
    }

    /// Delivers entries in order; everything up to `position` has been sent then.
    pub fn apply(&self, entries: &[event::Entry], position: Position) {
        let Some(journal) = self.journal() else { return };
        for entry in entries {
            match Delivery::new(entry, journal) {
                Some(delivery) => self.lock().rooms.apply(entry, delivery),
                None => tracing::warn!(entry.position, "an entry of an unknown kind was left out"),
            }
        }
        self.advance(position);
    }

    /// Everything up to `position` has been sent. If too much waits for those who do not read, the fullest go.
    pub fn advance(&self, position: Position) {
        let rooms = &mut self.lock().rooms;
        rooms.position = rooms.position.max(position);
        if let Some(excess) = Frame::alive_bytes().checked_sub(self.queued_bytes_max) {
            close_fullest(rooms, excess);
        }
    }

    /// Delivers a signal; it may be lost.
    pub fn signal(&self, signal: &event::Signal) {
        let (Ok(conversation_id), Some(Kind::MessageRead(read))) = (signal.conversation_id.parse(), &signal.signal)
        else {
            return;
        };
        let body = json(&MessageReadObject::new(&signal.conversation_id, read));
        let frames = WireFormat::ALL.map(|wire| Frame::event(wire, "message_read", &body, None));
        let push = |connection: &Connection| {
            // The one that said so has its answer.
            if connection.origin != read.origin {
                connection.outbound.push_signal(frames[connection.wire as usize].clone());
            }
        };
        let state = self.lock();
        if !read.to_reader_only {
            state.rooms.live_in(conversation_id).for_each(push);
        } else if let Ok(reader) = read.user_id.parse() {
            state.rooms.live_of(reader).for_each(push);
        }
    }
}

/// For the operation.
impl Hub {
    /// Closes the connections a revocation ends.
    pub fn revoke(&self, revocation: &Revocation) {
        let state = self.lock();
        let room = state.rooms.users.get(&revocation.user_id);
        for member in room.into_iter().flat_map(|room| &room.members) {
            if revocation.ends(&member.identity) {
                member.connection.outbound.close(CloseReason::Revoked);
            }
        }
    }

    /// Takes no more connections; gives those there are.
    pub fn start_draining(&self) -> Vec<Arc<Connection>> {
        let mut state = self.lock();
        state.is_draining = true;
        let members = state.rooms.users.values().flat_map(|room| &room.members);
        members.map(|member| Arc::clone(&member.connection)).collect()
    }

    /// Closes every connection.
    pub fn close_all(&self, reason: CloseReason) {
        for member in self.lock().rooms.users.values().flat_map(|room| &room.members) {
            member.connection.outbound.close(reason);
        }
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Resolves when no connection is left.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the connections with most waiting, as many as may free so many bytes; they resume. What they share with others
/// is freed with the last of these, so it may take several turns.
fn close_fullest(rooms: &Rooms, excess: usize) {
    let members = rooms.users.values().flat_map(|room| &room.members);
    let open = members.map(|member| &member.connection).filter(|connection| connection.outbound.closing().is_none());
    let waiting = open.map(|connection| (connection.outbound.bytes(), connection));
    let mut fullest: Vec<_> = waiting.filter(|(bytes, _)| *bytes >= FULL_BYTES_MIN).collect();
    fullest.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
    let (mut freed, mut closed) = (0, 0_u64);
    for (bytes, connection) in fullest {
        if freed > excess {
            break;
        }
        connection.outbound.close(CloseReason::SlowConsumer);
        (freed, closed) = (freed + bytes, closed + 1);
    }
    if closed > 0 {
        tracing::warn!(excess, closed, "too much waits for slow readers: the fullest connections are closed");
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.connection);
    }
}
