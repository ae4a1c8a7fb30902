//! Change sets: which of them are new, and what the heads and memberships are after them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use messenger_core::{ConversationId, ConversationType, Error, Position, Role, Timestamp, UserId};

use super::Numbering;
use crate::model::{Change, ChangeSet, Effect, Entry, Fact};

/// A conversation as the next append finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its kind.
    pub conversation_type: ConversationType,
    /// Whether only ADMINs may post.
    pub is_restricted: bool,
    /// The last change.
    pub version: i64,
    /// How many take part.
    pub participant_count: i64,
    /// The last message; 0 before the first.
    pub last_seq: i64,
    /// The last entry of any kind.
    pub last_position: Position,
    /// When it was created or last had a message.
    pub last_activity_at: Timestamp,
}

/// A user's part in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The role.
    pub role: Role,
    /// The entry that made the user a participant.
    pub joined_position: Position,
    /// The last message before that.
    pub joined_seq: i64,
    /// How far the user has read.
    pub read_seq: i64,
    /// When; none if never.
    pub read_at: Option<Timestamp>,
}

/// A membership that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Whose.
    pub user_id: UserId,
    /// The entry that ended it.
    pub position: Position,
    /// Where.
    pub conversation_id: ConversationId,
    /// The entry that had begun it.
    pub joined_position: Position,
}

/// What is stored about everything the change sets name.
#[derive(Debug, Default)]
pub struct ChangeFacts {
    /// Conversations there are.
    pub heads: HashMap<ConversationId, Head>,
    /// Memberships there are.
    pub memberships: HashMap<(ConversationId, UserId), Membership>,
}

/// A change to store.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Of its entry.
    pub position: Position,
    /// Of which conversation.
    pub conversation_id: ConversationId,
    /// Its number there.
    pub version: i64,
    /// The encoded `messenger.event.v1.ConversationChanged`.
    pub body: Bytes,
}

impl Changed {
    /// As the journal's entry.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let fact = Fact::ConversationChanged(self.body.clone());
        Entry { position: self.position, conversation_id: self.conversation_id, fact }
    }
}

/// What the change sets come to.
#[derive(Debug, Default)]
pub struct AppliedChanges {
    /// For each set the version held afterwards, or VALIDATION_FAILED.
    pub outcomes: Vec<Result<i64, Error>>,
    /// Changes to store, in the order of their positions.
    pub changed: Vec<Changed>,
    /// Heads to store as they are here.
    pub heads: Vec<(ConversationId, Head)>,
    /// Memberships to store as they are here.
    pub memberships: Vec<(ConversationId, UserId, Membership)>,
    /// Memberships to delete.
    pub left: Vec<(ConversationId, UserId)>,
    /// Memberships that ended.
    pub departures: Vec<Departure>,
    /// P2P conversations that began: the lower user, the higher one.
    pub pairs: Vec<(UserId, UserId, ConversationId)>,
}

/// Applies the sets one after the other. A version already there has no effect, one beyond the next is a gap: its set
/// has none.
#[must_use]
pub fn apply_changes(sets: &[ChangeSet], facts: ChangeFacts, numbering: &mut Numbering) -> AppliedChanges {
    let mut state = State { facts, touched: HashSet::new(), moved: HashSet::new(), out: AppliedChanges::default() };
    for ChangeSet(changes) in sets {
        let outcome = state.apply_set(changes, numbering);
        state.out.outcomes.push(outcome);
    }
    state.finish()
}

struct State {
    /// As they are after what was applied so far.
    facts: ChangeFacts,
    touched: HashSet<(ConversationId, UserId)>,
    moved: HashSet<ConversationId>,
    out: AppliedChanges,
}

impl State {
    fn apply_set(&mut self, changes: &[Change], numbering: &mut Numbering) -> Result<i64, Error> {
        let Some(first) = changes.first() else { return Err(Error::invalid("changes", "must not be empty")) };
        let conversation_id = first.conversation_id;
        let is_run = changes
            .iter()
            .zip(first.version..)
            .all(|(change, version)| change.version == version && change.conversation_id == conversation_id);
        if !is_run || first.version < 1 {
            return Err(Error::invalid("changes", "must be of one conversation, with consecutive versions"));
        }
        let held = self.facts.heads.get(&conversation_id).map_or(0, |head| head.version);
        if first.version > held + 1 {
            return Ok(held);
        }
        for change in changes.iter().filter(|change| change.version > held) {
            self.apply(change, numbering.next(), numbering.created_at);
        }
        Ok(self.facts.heads.get(&conversation_id).map_or(0, |head| head.version))
    }

    fn apply(&mut self, change: &Change, position: Position, now: Timestamp) {
        let conversation_id = change.conversation_id;
        let before = self.facts.heads.get(&conversation_id);
        let head = Head {
            conversation_type: change.conversation_type,
            is_restricted: change.is_restricted,
            version: change.version,
            participant_count: change.participant_count,
            last_seq: before.map_or(0, |head| head.last_seq),
            last_position: position,
            last_activity_at: before.map_or(now, |head| head.last_activity_at),
        };
        let is_new = before.is_none();
        self.facts.heads.insert(conversation_id, head);
        self.moved.insert(conversation_id);
        let (version, body) = (change.version, change.body.clone());
        self.out.changed.push(Changed { position, conversation_id, version, body });
        match &change.effect {
            Effect::None => {}
            Effect::Join(users) => {
                for &(user, role) in users {
                    self.join(conversation_id, user, role, &head);
                }
                if is_new {
                    self.pair(change, users);
                }
            }
            Effect::Role(user, role) => {
                if let Some(membership) = self.facts.memberships.get_mut(&(conversation_id, *user)) {
                    membership.role = *role;
                    self.touched.insert((conversation_id, *user));
                }
            }
            Effect::Leave(user) => self.leave(conversation_id, *user, position),
        }
    }

    /// Whoever takes part already keeps its place and gets the role.
    fn join(&mut self, conversation_id: ConversationId, user: UserId, role: Role, head: &Head) {
        let (joined_position, seq) = (head.last_position, head.last_seq);
        let new = Membership { role, joined_position, joined_seq: seq, read_seq: seq, read_at: None };
        self.facts.memberships.entry((conversation_id, user)).or_insert(new).role = role;
        self.touched.insert((conversation_id, user));
    }

    fn leave(&mut self, conversation_id: ConversationId, user_id: UserId, position: Position) {
        let Some(membership) = self.facts.memberships.remove(&(conversation_id, user_id)) else { return };
        let joined_position = membership.joined_position;
        self.out.departures.push(Departure { user_id, position, conversation_id, joined_position });
        self.touched.insert((conversation_id, user_id));
    }

    fn pair(&mut self, change: &Change, users: &[(UserId, Role)]) {
        if let (ConversationType::P2p, &[(a, _), (b, _)]) = (change.conversation_type, users) {
            self.out.pairs.push((a.min(b), a.max(b), change.conversation_id));
        }
    }

    fn finish(mut self) -> AppliedChanges {
        for key in self.touched {
            match self.facts.memberships.get(&key) {
                Some(&membership) => self.out.memberships.push((key.0, key.1, membership)),
                None => self.out.left.push(key),
            }
        }
        for id in self.moved {
            self.out.heads.extend(self.facts.heads.get(&id).map(|&head| (id, head)));
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use messenger_core::ErrorKind;

    use super::*;

    fn id<K>(number: u128) -> messenger_core::Id<K> {
        messenger_core::Id::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn change(version: i64, effect: Effect) -> Change {
        Change {
            conversation_id: id(1),
            conversation_type: ConversationType::Group,
            is_restricted: false,
            participant_count: 2,
            version,
            effect,
            body: Vec::new().into(),
        }
    }

    fn join(user: u128) -> Effect {
        Effect::Join(vec![(id(user), Role::Member)])
    }

    fn apply(sets: &[ChangeSet], facts: ChangeFacts) -> AppliedChanges {
        let mut numbering = Numbering { position: Position(10), created_at: Timestamp::from_micros(5) };
        apply_changes(sets, facts, &mut numbering)
    }

    fn at_version(version: i64) -> ChangeFacts {
        let head = Head {
            conversation_type: ConversationType::Group,
            is_restricted: false,
            version,
            participant_count: 1,
            last_seq: 7,
            last_position: Position(9),
            last_activity_at: Timestamp::from_micros(1),
        };
        ChangeFacts { heads: HashMap::from([(id(1), head)]), memberships: HashMap::new() }
    }

    #[test]
    fn versions_follow_each_other() {
        let set = |versions: std::ops::RangeInclusive<i64>| {
            ChangeSet(versions.map(|version| change(version, Effect::None)).collect())
        };
        let applied = apply(&[set(1..=2), set(2..=4), set(6..=7), set(1..=3), set(5..=5)], at_version(1));
        let held: Vec<i64> = applied.outcomes.into_iter().map(|outcome| outcome.expect("a run")).collect();
        assert_eq!(held, [2, 4, 4, 4, 5]);
        let stored: Vec<_> = applied.changed.iter().map(|changed| (changed.version, changed.position.0)).collect();
        assert_eq!(stored, [(2, 11), (3, 12), (4, 13), (5, 14)]);
    }

    #[test]
    fn a_set_is_a_run_of_one_conversation() {
        let other = Change { conversation_id: id(2), ..change(2, Effect::None) };
        let sets = [
            ChangeSet(vec![change(1, Effect::None), other]),
            ChangeSet(vec![change(1, Effect::None), change(3, Effect::None)]),
            ChangeSet(vec![change(0, Effect::None)]),
            ChangeSet(Vec::new()),
        ];
        for outcome in apply(&sets, ChangeFacts::default()).outcomes {
            assert_eq!(outcome.expect_err("no run").kind(), ErrorKind::ValidationFailed);
        }
    }

    #[test]
    fn a_user_comes_goes_and_comes_again() {
        let set = ChangeSet(vec![change(2, join(5)), change(3, Effect::Leave(id(5))), change(4, join(5))]);
        let applied = apply(&[set], at_version(1));
        let departure =
            Departure { user_id: id(5), position: Position(12), conversation_id: id(1), joined_position: Position(11) };
        assert_eq!(applied.departures, [departure]);
        let membership =
            Membership { role: Role::Member, joined_position: Position(13), joined_seq: 7, read_seq: 7, read_at: None };
        assert_eq!(applied.memberships, [(id(1), id(5), membership)]);
        assert!(applied.left.is_empty());
    }

    #[test]
    fn a_new_p2p_conversation_is_a_pair() {
        let created = Change {
            conversation_type: ConversationType::P2p,
            ..change(1, Effect::Join(vec![(id(9), Role::Member), (id(4), Role::Member)]))
        };
        let applied = apply(&[ChangeSet(vec![created])], ChangeFacts::default());
        assert_eq!(applied.pairs, [(id(4), id(9), id(1))]);
        assert_eq!(applied.heads[0].1.last_activity_at, Timestamp::from_micros(5));
    }
}
