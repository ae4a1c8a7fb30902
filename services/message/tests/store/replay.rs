//! Replay gives what would have come live: random histories, compared with a plain model of the feed.

use std::{collections::HashMap, sync::Arc};

use messenger_core::{ConversationId, Position, UserId, limits};
use messenger_db::Location;
use messenger_message::{
    model::{Batch, ChangeSet, Effect, Entry, Fact, Missed},
    store::Store,
};

use crate::support::{Talk, append, at, group, journal, open, users};

/// Repeatable choices (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % sides as u64) as usize
    }
}

/// Effects by the body of their entry: the store does not look into bodies, neither does it change them.
type Effects = HashMap<Vec<u8>, Effect>;

const USERS: usize = 4;

/// Sends, adds, removes and adds again, some of them in one batch.
async fn random_history(store: &Arc<dyn Store>, users: &[UserId; USERS], dice: &mut Dice) -> Effects {
    let mut talks = [Talk::group(), Talk::group(), Talk::group()];
    let mut inside: HashMap<(ConversationId, UserId), bool> = HashMap::new();
    let mut effects = Effects::new();
    for _ in 0..40 {
        let mut batch = Batch::default();
        for _ in 0..=dice.roll(3) {
            let (talk, user) = (&mut talks[dice.roll(3)], users[dice.roll(USERS)]);
            let is_inside = inside.entry((talk.id, user)).or_default();
            match dice.roll(3) {
                0 => {
                    let set = if *is_inside { talk.leave(user) } else { talk.join(user) };
                    *is_inside = !*is_inside;
                    remember(&mut effects, &set);
                    batch.changes.push(set);
                }
                _ => batch.drafts.push(talk.draft(user, "said")),
            }
        }
        store.append(batch, at(1)).await.expect("committed");
    }
    effects
}

fn remember(effects: &mut Effects, set: &ChangeSet) {
    for change in &set.0 {
        effects.insert(change.body.to_vec(), change.effect.clone());
    }
}

fn effect<'a>(entry: &Entry, effects: &'a Effects) -> Option<&'a Effect> {
    match &entry.fact {
        Fact::ConversationChanged(body) => effects.get(&body[..]),
        Fact::MessageSent { .. } => None,
    }
}

/// What one user hears: each conversation from the entry that adds it to the one that removes it.
struct Heard {
    live: Vec<Entry>,
    removals: Vec<Position>,
    takes_part: HashMap<ConversationId, bool>,
}

fn hear(user: UserId, journal: &[Entry], effects: &Effects) -> Heard {
    let mut heard = Heard { live: Vec::new(), removals: Vec::new(), takes_part: HashMap::new() };
    for entry in journal {
        let takes_part = heard.takes_part.entry(entry.conversation_id).or_default();
        let change = effect(entry, effects);
        if matches!(change, Some(Effect::Join(users)) if users[0].0 == user) {
            *takes_part = true;
        }
        if *takes_part {
            heard.live.push(entry.clone());
        }
        if matches!(change, Some(Effect::Leave(leaving)) if *leaving == user) {
            *takes_part = false;
            heard.removals.push(entry.position);
        }
    }
    heard
}

impl Heard {
    /// Of conversations it was removed from a user gets only the removals.
    fn after(&self, after: Position, excluded: &[ConversationId]) -> Vec<Entry> {
        let is_for_user = |entry: &&Entry| {
            if entry.position <= after {
                return false;
            }
            match self.takes_part[&entry.conversation_id] {
                true => !excluded.contains(&entry.conversation_id),
                false => self.removals.contains(&entry.position),
            }
        };
        self.live.iter().filter(is_for_user).cloned().collect()
    }
}

async fn replayed(
    store: &Arc<dyn Store>,
    user: UserId,
    mut after: Position,
    excluded: &[ConversationId],
    limit: u32,
) -> (Vec<Entry>, Position) {
    let mut entries = Vec::new();
    loop {
        let page = store.replay(user, after, excluded, limit).await.expect("reads");
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries);
        after = page.complete_to;
        if !page.has_more {
            return (entries, after);
        }
    }
}

fn check_missed(missed: Missed, expected: &[Entry]) {
    assert_eq!(missed.entries, expected.len() as i64);
    for conversation in missed.conversations {
        let seqs: Vec<i64> = expected
            .iter()
            .filter(|entry| entry.conversation_id == conversation.conversation_id)
            .filter_map(|entry| match &entry.fact {
                Fact::MessageSent { message, .. } => Some(message.seq),
                Fact::ConversationChanged(_) => None,
            })
            .collect();
        assert_eq!((conversation.messages, Some(&conversation.first_seq)), (seqs.len() as i64, seqs.first()));
    }
}

pub async fn gives_what_would_have_come_live(location: Location) {
    let store = open(&location).await;
    for seed in 0..8 {
        let mut dice = Dice(seed);
        let users = users();
        let start = store.journal().await.expect("reads").last;
        let effects = random_history(&store, &users, &mut dice).await;
        let entries: Vec<_> = journal(&store).await.into_iter().filter(|entry| entry.position > start).collect();
        let last = store.journal().await.expect("reads").last;
        for user in users {
            let heard = hear(user, &entries, &effects);
            for _ in 0..6 {
                let after = Position(start.0 + dice.roll((last.0 - start.0) as usize + 1) as i64);
                let excluded: Vec<_> = heard.takes_part.keys().copied().take(dice.roll(3) / 2).collect();
                let limit = 1 + dice.roll(20) as u32;
                let expected = heard.after(after, &excluded);
                let (found, complete_to) = replayed(&store, user, after, &excluded, limit).await;
                assert_eq!(found, expected, "seed {seed}, after {after}, limit {limit}");
                assert_eq!(complete_to, last);
                check_missed(store.missed(user, after).await.expect("reads"), &heard.after(after, &[]));
            }
        }
    }
}

/// Somebody is removed and added again and again: what that makes a reader look at is bounded.
pub async fn row_83_removed_and_added_without_end(location: Location) {
    let store = open(&location).await;
    let [eve, ann] = users();
    let mut talk = group(&store, &[eve]).await;
    let start = store.journal().await.expect("reads").last;
    for missed in [6_000, limits::REPLAY_ENTRIES_MAX + 1] {
        for _ in 0..60 {
            let changes: Vec<_> = (0..100).flat_map(|_| [talk.join(ann).0, talk.leave(ann).0]).flatten().collect();
            append(&store, changes.chunks(100).map(|set| ChangeSet(set.to_vec())).collect(), vec![]).await;
        }
        assert_eq!(store.missed(ann, start).await.expect("reads").entries, missed);
    }
}

pub async fn follow_and_journal_are_one_snapshot(location: Location) {
    let store = open(&location).await;
    let [ann, bob, eve] = users();
    let mut talk = group(&store, &[ann]).await;
    let other = group(&store, &[ann, bob]).await;
    append(&store, vec![talk.join(bob), talk.leave(ann)], vec![]).await;
    let mut followed = store.follow(&[ann, bob, eve]).await.expect("reads");
    let mut expected = vec![(ann, other.id), (bob, other.id), (bob, talk.id)];
    expected.sort();
    followed.memberships.sort();
    assert_eq!(followed.memberships, expected);
    assert_eq!(followed.position, store.journal().await.expect("reads").last);
    let none = store.follow(&[eve]).await.expect("reads");
    assert_eq!((none.memberships.len(), none.position), (0, followed.position));
    let page = store.read_journal(followed.position, 10).await.expect("reads");
    assert_eq!((page.entries.len(), page.complete_to, page.has_more), (0, followed.position, false));
}
