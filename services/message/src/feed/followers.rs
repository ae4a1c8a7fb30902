//! Who hears what: the users each follower asked for, the conversations those take part in. Pure bookkeeping.
//!
//! A follower's interest follows the entries themselves: the one that adds a user to a conversation is heard already,
//! the one that removes it is the last. Whom to begin with is read in a snapshot that may lie on either side of the
//! feed: changes since it was asked for are noted meanwhile, a snapshot ahead of the feed is held until it gets there.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use messenger_core::{ConversationId, Error, IdMap, IdSet, Position, UserId};

use super::queue::{Chosen, FeedEvent, Queue};
use crate::{
    batch::{EntryBatch, SharedEntry},
    convert,
    model::{Effect, Entry, Fact, Followed},
};

/// Tells followers of one process apart.
pub type FollowerId = u64;
/// Tells additions apart.
pub type Ticket = u64;

/// All followers of this process.
#[derive(Default)]
pub(crate) struct Followers {
    followers: BTreeMap<FollowerId, Follower>,
    /// Who listens to a conversation, and for how many of its users.
    interest: IdMap<ConversationId, Vec<(FollowerId, u32)>>,
    /// Who asked for a user.
    users: IdMap<UserId, Vec<FollowerId>>,
    additions: BTreeMap<Ticket, Addition>,
    next_ticket: Ticket,
    /// Followers something was chosen for in the batch at hand.
    touched: Vec<FollowerId>,
}

struct Follower {
    queue: Arc<Queue>,
    users: IdMap<UserId, IdSet<ConversationId>>,
    chosen: Vec<Arc<SharedEntry>>,
}

/// Users asked for whose conversations are not known yet.
struct Addition {
    follower: FollowerId,
    users: IdSet<UserId>,
    /// What happened to them since: where, and whether they take part after it.
    since: Vec<(Position, UserId, ConversationId, bool)>,
    snapshot: Option<Followed>,
}

impl Followers {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.followers.len()
    }

    /// A new one, told first of all where the feed is.
    pub(crate) fn open(&mut self, id: FollowerId, queue: Arc<Queue>, position: Position) {
        queue.push(FeedEvent::Welcome(position));
        self.followers.insert(id, Follower { queue, users: IdMap::default(), chosen: Vec::new() });
    }

    /// Begins to follow users; to be asked for before the snapshot is. None when the follower is gone.
    pub(crate) fn begin(&mut self, follower: FollowerId, users: &[UserId]) -> Option<Ticket> {
        self.followers.get(&follower)?;
        self.next_ticket += 1;
        let users = users.iter().copied().collect();
        self.additions.insert(self.next_ticket, Addition { follower, users, since: Vec::new(), snapshot: None });
        Some(self.next_ticket)
    }

    /// The snapshot is there; `position` is where the feed is.
    pub(crate) fn complete(&mut self, ticket: Ticket, snapshot: Followed, position: Position) {
        let Some(mut addition) = self.additions.remove(&ticket) else { return };
        if snapshot.position > position {
            addition.snapshot = Some(snapshot);
            self.additions.insert(ticket, addition);
        } else {
            self.activate(addition, snapshot, position);
        }
    }

    /// The snapshot could not be read.
    pub(crate) fn fail(&mut self, ticket: Ticket, error: &Error) {
        if let Some(addition) = self.additions.remove(&ticket) {
            self.end(addition.follower, error.without_cause());
        }
    }

    /// Follows these users no more.
    pub(crate) fn remove(&mut self, follower: FollowerId, users: &[UserId]) {
        for user in users {
            for addition in self.additions.values_mut().filter(|addition| addition.follower == follower) {
                addition.users.remove(user);
            }
            self.forget_user(follower, *user);
        }
    }

    /// Ends one.
    pub(crate) fn end(&mut self, id: FollowerId, error: Error) {
        if let Some(follower) = self.followers.get(&id) {
            follower.queue.end(error);
        }
        self.forget(id);
    }

    /// Ends all.
    pub(crate) fn end_all(&mut self, error: &Error) {
        for id in self.followers.keys().copied().collect::<Vec<_>>() {
            self.end(id, error.without_cause());
        }
    }

    /// Tells everybody where the feed is; forgets those who are gone.
    pub(crate) fn heartbeat(&mut self, position: Position) {
        let is_gone = |follower: &Follower| !follower.queue.push(FeedEvent::Heartbeat(position));
        let gone: Vec<_> = self.followers.iter().filter(|(_, follower)| is_gone(follower)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.forget(id));
    }

    /// Hands out entries above `after`; `position` is where the feed is with them.
    pub(crate) fn apply(&mut self, batch: &EntryBatch, after: Position, position: Position) {
        for entry in batch.0.iter().filter(|entry| entry.position > after) {
            self.activate_before(entry.position);
            let effect = effect(entry);
            if let Effect::Join(users) = &effect {
                users.iter().for_each(|(user, _)| self.joined(entry, *user));
            }
            self.choose(entry);
            if let Effect::Leave(user) = effect {
                self.left(entry, user);
            }
        }
        self.hand_out(position);
        self.activate_before(Position(position.0 + 1));
    }

    /// Hands out a signal: to those who follow `only`, or to all who listen to the conversation.
    pub(crate) fn signal(&mut self, conversation: ConversationId, only: Option<UserId>, encoded: &Bytes) {
        let receivers: Vec<FollowerId> = match only {
            Some(user) => self.users.get(&user).cloned().unwrap_or_default(),
            None => self.interest.get(&conversation).into_iter().flatten().map(|(id, _)| *id).collect(),
        };
        for id in receivers {
            self.push(id, FeedEvent::Signal(encoded.clone()));
        }
    }

    fn choose(&mut self, entry: &Arc<SharedEntry>) {
        for (id, _) in self.interest.get(&entry.conversation_id).into_iter().flatten() {
            if let Some(follower) = self.followers.get_mut(id) {
                if follower.chosen.is_empty() {
                    self.touched.push(*id);
                }
                follower.chosen.push(Arc::clone(entry));
            }
        }
    }

    fn hand_out(&mut self, position: Position) {
        for id in std::mem::take(&mut self.touched) {
            let Some(follower) = self.followers.get_mut(&id) else { continue };
            let entries = std::mem::take(&mut follower.chosen);
            self.push(id, FeedEvent::Entries(Chosen { entries, position }));
        }
    }

    fn push(&mut self, id: FollowerId, event: FeedEvent) {
        let Some(follower) = self.followers.get(&id) else { return };
        if !follower.queue.push(event) {
            self.forget(id);
        }
    }

    fn joined(&mut self, entry: &Entry, user: UserId) {
        self.note(entry, user, true);
        for id in self.users.get(&user).cloned().unwrap_or_default() {
            self.listen(id, user, entry.conversation_id);
        }
    }

    fn left(&mut self, entry: &Entry, user: UserId) {
        self.note(entry, user, false);
        for id in self.users.get(&user).cloned().unwrap_or_default() {
            let Some(follower) = self.followers.get_mut(&id) else { continue };
            if follower.users.get_mut(&user).is_some_and(|conversations| conversations.remove(&entry.conversation_id)) {
                self.listen_less(id, entry.conversation_id);
            }
        }
    }

    fn note(&mut self, entry: &Entry, user: UserId, takes_part: bool) {
        for addition in self.additions.values_mut().filter(|addition| addition.users.contains(&user)) {
            addition.since.push((entry.position, user, entry.conversation_id, takes_part));
        }
    }

    /// Activates held additions whose snapshot lies below `position`.
    fn activate_before(&mut self, position: Position) {
        if self.additions.is_empty() {
            return;
        }
        let is_due = |addition: &Addition| addition.snapshot.as_ref().is_some_and(|held| held.position < position);
        let due: Vec<Ticket> = self.additions.iter().filter(|(_, held)| is_due(held)).map(|(id, _)| *id).collect();
        for ticket in due {
            let Some(mut addition) = self.additions.remove(&ticket) else { continue };
            if let Some(snapshot) = addition.snapshot.take() {
                let at = snapshot.position;
                self.activate(addition, snapshot, at);
            }
        }
    }

    /// From now on the users are followed. `position` is not below the snapshot's.
    fn activate(&mut self, addition: Addition, snapshot: Followed, position: Position) {
        let mut memberships: IdMap<UserId, IdSet<ConversationId>> =
            addition.users.iter().map(|user| (*user, IdSet::default())).collect();
        for (user, conversation) in snapshot.memberships {
            if let Some(conversations) = memberships.get_mut(&user) {
                conversations.insert(conversation);
            }
        }
        for (at, user, conversation, takes_part) in addition.since {
            let Some(conversations) = memberships.get_mut(&user).filter(|_| at > snapshot.position) else { continue };
            if takes_part {
                conversations.insert(conversation);
            } else {
                conversations.remove(&conversation);
            }
        }
        for (user, conversations) in memberships {
            self.forget_user(addition.follower, user);
            self.remember_user(addition.follower, user, &conversations);
            let conversations = conversations.into_iter().collect();
            self.push(addition.follower, FeedEvent::UserFollowed { user, position, conversations });
        }
    }

    fn remember_user(&mut self, id: FollowerId, user: UserId, conversations: &IdSet<ConversationId>) {
        let Some(follower) = self.followers.get_mut(&id) else { return };
        follower.users.insert(user, IdSet::with_capacity_and_hasher(conversations.len(), Default::default()));
        self.users.entry(user).or_default().push(id);
        conversations.iter().for_each(|conversation| self.listen(id, user, *conversation));
    }

    fn forget_user(&mut self, id: FollowerId, user: UserId) {
        let Some(follower) = self.followers.get_mut(&id) else { return };
        let Some(conversations) = follower.users.remove(&user) else { return };
        if let Some(ids) = self.users.get_mut(&user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.users.remove(&user);
            }
        }
        conversations.into_iter().for_each(|conversation| self.listen_less(id, conversation));
    }

    fn forget(&mut self, id: FollowerId) {
        self.additions.retain(|_, addition| addition.follower != id);
        let users: Vec<UserId> =
            self.followers.get(&id).into_iter().flat_map(|follower| follower.users.keys().copied()).collect();
        users.into_iter().for_each(|user| self.forget_user(id, user));
        self.followers.remove(&id);
    }

    fn listen(&mut self, id: FollowerId, user: UserId, conversation: ConversationId) {
        let Some(conversations) = self.followers.get_mut(&id).and_then(|follower| follower.users.get_mut(&user)) else {
            return;
        };
        if !conversations.insert(conversation) {
            return;
        }
        let listeners = self.interest.entry(conversation).or_default();
        match listeners.iter_mut().find(|(listener, _)| *listener == id) {
            Some((_, users)) => *users += 1,
            None => listeners.push((id, 1)),
        }
    }

    fn listen_less(&mut self, id: FollowerId, conversation: ConversationId) {
        let Some(listeners) = self.interest.get_mut(&conversation) else { return };
        for (_, users) in listeners.iter_mut().filter(|(listener, _)| *listener == id) {
            *users -= 1;
        }
        listeners.retain(|(_, users)| *users > 0);
        if listeners.is_empty() {
            self.interest.remove(&conversation);
        }
    }
}

fn effect(entry: &Entry) -> Effect {
    match &entry.fact {
        Fact::MessageSent { .. } => Effect::None,
        Fact::ConversationChanged(body) => convert::effect_of(body).unwrap_or_else(|error| {
            tracing::error!(?error, position = %entry.position, "a change cannot be read");
            Effect::None
        }),
    }
}

#[cfg(test)]
mod tests;
