//! What the domain relies on in a store, on both engines.

mod support;

use std::iter::zip;

use futures_util::future::join_all;
use messenger_conversation::{
    model::{Conversation, Pair, Participant, PendingChange},
    store::Store,
};
use messenger_core::{ConversationId, ConversationType, Id, ParticipantId, Role, Timestamp, UserId, page::PageSize};
use messenger_db::Location;
use support::{on_both_stores, open};
use uuid::Uuid;

on_both_stores!(
    reads_what_was_written,
    a_dropped_change_leaves_nothing,
    one_claim_of_a_pair_wins,
    versions_are_consecutive,
    the_lock_makes_later_reads_fresh,
    the_outbox_is_in_order,
    pages_are_complete,
    counts_conversations_of_users,
    two_changes_with_users_in_common,
);

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn id<K>() -> Id<K> {
    Id::from_uuid(Uuid::new_v4())
}

fn users(count: usize) -> Vec<UserId> {
    let mut users: Vec<UserId> = (0..count).map(|_| id()).collect();
    users.sort_unstable();
    users
}

fn conversation(conversation_type: ConversationType) -> Conversation {
    Conversation {
        id: id(),
        conversation_type,
        name: "Ünïcode \u{202e}".to_owned(),
        is_restricted: true,
        version: 1,
        participant_count: 0,
        created_at: NOW,
    }
}

fn participant(conversation: ConversationId, user_id: UserId, role: Role) -> Participant {
    Participant { id: ParticipantId::new(NOW), conversation_id: conversation, user_id, role, joined_at: NOW }
}

/// A group of these users, all ADMIN.
async fn group(store: &Store, users: &[UserId]) -> Conversation {
    let group = conversation(ConversationType::Group);
    let mut tx = store.begin().await.expect("begins");
    tx.insert_conversation(&group).await.expect("inserts");
    let participants: Vec<_> = users.iter().map(|user| participant(group.id, *user, Role::Admin)).collect();
    tx.insert_participants(&participants).await.expect("inserts");
    tx.join(users).await.expect("counts");
    tx.commit().await.expect("commits");
    group
}

async fn p2p(store: &Store, pair: Pair) -> Option<Conversation> {
    let made = conversation(ConversationType::P2p);
    let mut tx = store.begin().await.expect("begins");
    if !tx.claim_p2p(pair, made.id).await.expect("claims") {
        tx.rollback().await.expect("rolls back");
        return None;
    }
    tx.insert_conversation(&made).await.expect("inserts");
    let parts = [pair.low, pair.high].map(|user| participant(made.id, user, Role::Member));
    tx.insert_participants(&parts).await.expect("inserts");
    tx.commit().await.expect("commits");
    Some(made)
}

fn change(version: i64) -> PendingChange {
    PendingChange { version, body: vec![u8::try_from(version % 256).expect("below 256"); 3] }
}

async fn reads_what_was_written(location: Location) {
    let store = open(&location).await;
    let [low, high, other] = users(3).try_into().expect("three");
    let pair = Pair::new(high, low).expect("two users");
    assert_eq!(store.find_p2p(pair).await.expect("reads"), None);
    let made = p2p(&store, pair).await.expect("the first");
    let found = store.find_p2p(pair).await.expect("reads").expect("there");
    assert_eq!((found.conversation, found.is_delivered), (made.clone(), true));
    let view = store.view(low, made.id).await.expect("reads").expect("takes part");
    assert_eq!((view.role, view.peer), (Role::Member, Some(high)));
    assert_eq!(store.view(other, made.id).await.expect("reads"), None);

    let made_group = group(&store, &[low, other]).await;
    let view = store.view(low, made_group.id).await.expect("reads").expect("takes part");
    assert_eq!((view.conversation.clone(), view.role, view.peer), (made_group.clone(), Role::Admin, None));
    let views = store.views(low, &[made.id, made_group.id, id()]).await.expect("reads");
    assert_eq!(views.len(), 2);

    let mut tx = store.begin().await.expect("begins");
    let mut locked = tx.lock(made_group.id).await.expect("locks").expect("there");
    assert_eq!(tx.lock(id()).await.expect("locks"), None);
    let mut part = tx.participant(made_group.id, other).await.expect("reads").expect("there");
    part.role = Role::Member;
    tx.update_role(&part).await.expect("writes");
    locked = Conversation { name: "n".to_owned(), is_restricted: false, version: 2, participant_count: 7, ..locked };
    tx.update_conversation(&locked).await.expect("writes");
    tx.delete_participant(made_group.id, low).await.expect("deletes");
    tx.commit().await.expect("commits");
    assert_eq!(store.view(low, made_group.id).await.expect("reads"), None);
    let view = store.view(other, made_group.id).await.expect("reads").expect("takes part");
    assert_eq!((view.conversation, view.role), (locked, Role::Member));
}

async fn a_dropped_change_leaves_nothing(location: Location) {
    let store = open(&location).await;
    let users = users(2);
    let made = group(&store, &users).await;
    let mut tx = store.begin().await.expect("begins");
    tx.delete_participant(made.id, users[0]).await.expect("deletes");
    tx.record(made.id, &change(2)).await.expect("records");
    drop(tx);
    assert!(store.view(users[0], made.id).await.expect("reads").is_some());
    assert_eq!(store.undelivered(None, 10).await.expect("reads"), []);
    // The connection it had is usable and outside of a transaction.
    group(&store, &users).await;
    assert_eq!(store.list(users[0], None, PageSize::new(10).expect("valid")).await.expect("reads").len(), 2);
}

async fn one_claim_of_a_pair_wins(location: Location) {
    let stores = [open(&location).await, open(&location).await];
    let users = users(2);
    let pair = Pair::new(users[0], users[1]).expect("two users");
    let claims = (0..20).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move { p2p(&store, pair).await })
    });
    let won: Vec<_> = join_all(claims).await.into_iter().filter_map(|claim| claim.expect("no panic")).collect();
    assert_eq!(won.len(), 1);
    let found = stores[0].find_p2p(pair).await.expect("reads").expect("there");
    assert_eq!(found.conversation, won[0]);
    let listed = stores[1].list(users[0], None, PageSize::new(10).expect("valid")).await.expect("reads");
    assert_eq!(listed.len(), 1);
}

async fn versions_are_consecutive(location: Location) {
    let stores = [open(&location).await, open(&location).await];
    let made = group(&stores[0], &users(1)).await;
    let writers = (0..20).map(|n| {
        let (store, id) = (stores[n % 2].clone(), made.id);
        tokio::spawn(async move {
            let mut tx = store.begin().await.expect("begins");
            let mut found = tx.lock(id).await.expect("locks").expect("there");
            found.version += 1;
            tx.update_conversation(&found).await.expect("writes");
            tx.record(id, &change(found.version)).await.expect("records");
            // What is undone leaves no gap.
            if n % 5 == 4 { tx.rollback().await } else { tx.commit().await }.expect("ends");
        })
    });
    join_all(writers).await.into_iter().for_each(|writer| writer.expect("no panic"));
    let versions: Vec<i64> =
        stores[0].pending(made.id, 0, 100).await.expect("reads").into_iter().map(|change| change.version).collect();
    assert_eq!(versions, (2..=17).collect::<Vec<_>>());
}

async fn demote_unless_last(store: &Store, group: ConversationId, user: UserId) -> bool {
    let mut tx = store.begin().await.expect("begins");
    tx.lock(group).await.expect("locks").expect("there");
    if !tx.has_other_admin(group, user).await.expect("reads") {
        tx.rollback().await.expect("rolls back");
        return false;
    }
    let mut part = tx.participant(group, user).await.expect("reads").expect("there");
    part.role = Role::Member;
    tx.update_role(&part).await.expect("writes");
    tx.commit().await.expect("commits");
    true
}

async fn the_lock_makes_later_reads_fresh(location: Location) {
    let stores = [open(&location).await, open(&location).await];
    let users = users(10);
    let made = group(&stores[0], &users).await;
    let demotions = users.iter().enumerate().map(|(n, user)| {
        let (store, id, user) = (stores[n % 2].clone(), made.id, *user);
        tokio::spawn(async move { demote_unless_last(&store, id, user).await })
    });
    let demoted = join_all(demotions).await.into_iter().filter(|done| *done.as_ref().expect("no panic")).count();
    assert_eq!(demoted, 9);
}

async fn the_outbox_is_in_order(location: Location) {
    let store = open(&location).await;
    let users = users(1);
    let mut made = [group(&store, &users).await, group(&store, &users).await, group(&store, &users).await];
    made.sort_unstable_by_key(|made| made.id);
    for made in &made {
        let mut tx = store.begin().await.expect("begins");
        for version in (1..=12).rev() {
            tx.record(made.id, &change(version)).await.expect("records");
        }
        tx.commit().await.expect("commits");
    }
    let ids = made.map(|made| made.id);
    assert_eq!(store.undelivered(None, 2).await.expect("reads"), ids[..2]);
    assert_eq!(store.undelivered(Some(ids[1]), 2).await.expect("reads"), ids[2..]);
    let expected: Vec<_> = (1..=12).map(change).collect();
    assert_eq!(store.pending(ids[0], 0, 100).await.expect("reads"), expected);
    assert_eq!(store.pending(ids[0], 3, 4).await.expect("reads"), expected[3..7]);
    store.acknowledge(ids[0], 5).await.expect("deletes");
    assert_eq!(store.pending(ids[0], 0, 100).await.expect("reads"), expected[5..]);
    store.acknowledge(ids[0], 12).await.expect("deletes");
    assert_eq!(store.undelivered(None, 100).await.expect("reads"), ids[1..]);
}

async fn pages_are_complete(location: Location) {
    let store = open(&location).await;
    let users = users(7);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(group(&store, &users).await.id);
    }
    made.sort_unstable();
    let page = PageSize::new(3).expect("valid");
    let listed = store.list(users[3], None, page).await.expect("reads");
    assert_eq!(listed.iter().map(|view| view.conversation.id).collect::<Vec<_>>(), made[..4], "one more than the page");
    let listed = store.list(users[3], Some(made[2]), page).await.expect("reads");
    assert_eq!(listed.iter().map(|view| view.conversation.id).collect::<Vec<_>>(), made[3..]);

    let parts = store.participants(users[0], made[0], None, page).await.expect("reads");
    assert_eq!(parts.iter().map(|part| part.user_id).collect::<Vec<_>>(), users[..4]);
    let parts = store.participants(users[0], made[0], Some(users[5]), page).await.expect("reads");
    assert_eq!(parts.iter().map(|part| part.user_id).collect::<Vec<_>>(), users[6..]);
    let outsider = store.participants(id(), made[0], None, page).await.expect("reads");
    assert_eq!(outsider, [], "an outsider reads nothing");
}

async fn counts_conversations_of_users(location: Location) {
    let store = open(&location).await;
    let users = users(3);
    group(&store, &users[..2]).await;
    group(&store, &users[1..]).await;
    let mut tx = store.begin().await.expect("begins");
    assert_eq!(tx.join(&users).await.expect("counts"), zip(users.iter().copied(), [2, 3, 2]).collect());
    tx.part(users[1]).await.expect("counts");
    assert_eq!(tx.join(&users[1..2]).await.expect("counts")[&users[1]], 3);
    tx.rollback().await.expect("rolls back");
    let mut tx = store.begin().await.expect("begins");
    assert_eq!(tx.join(&users[..1]).await.expect("counts")[&users[0]], 2);
    tx.commit().await.expect("commits");
}

/// Whoever names the same users in another order waits and does not deadlock.
async fn two_changes_with_users_in_common(location: Location) {
    let stores = [open(&location).await, open(&location).await];
    let forward = users(300);
    let backward: Vec<UserId> = forward.iter().rev().copied().collect();
    let changes = (0..12).map(|n| {
        let (store, users) = (stores[n % 2].clone(), if n % 2 == 0 { forward.clone() } else { backward.clone() });
        tokio::spawn(async move { group(&store, &users).await })
    });
    join_all(changes).await.into_iter().for_each(|change| drop(change.expect("no deadlock")));
    let mut tx = stores[0].begin().await.expect("begins");
    assert!(tx.join(&forward).await.expect("counts").into_values().all(|count| count == 13));
    tx.rollback().await.expect("rolls back");
}
