//! Changes of rights.

use messenger_core::{ErrorKind, Role};
use messenger_db::Location;
use messenger_message::model::{Batch, ChangeSet, ResolvedDraft};

use crate::support::{Talk, append, at, group, journal, open, seqs, users};

pub async fn versions_repeat_and_gap(location: Location) {
    let store = open(&location).await;
    let [ann, bob, cem] = users();
    let mut talk = Talk::group();
    let (create, bob_joins) = (talk.create(&[ann]), talk.join(bob));
    let (cem_joins, bob_leaves) = (talk.join(cem), talk.leave(bob));
    let held = async |sets: Vec<&ChangeSet>| -> Vec<i64> {
        let sets = sets.into_iter().cloned().collect();
        append(&store, sets, vec![]).await.changes.into_iter().map(|set| set.expect("held")).collect()
    };
    let run = |sets: &[&ChangeSet]| ChangeSet(sets.iter().flat_map(|set| set.0.clone()).collect());

    assert_eq!(held(vec![&bob_joins]).await, [0]);
    assert_eq!(held(vec![&create, &create, &bob_joins]).await, [1, 1, 2]);
    assert_eq!(held(vec![&bob_leaves]).await, [2]);
    assert_eq!(held(vec![&run(&[&create, &bob_joins, &cem_joins, &bob_leaves])]).await, [4]);
    assert_eq!(held(vec![&create, &bob_joins]).await, [4, 4]);

    assert_eq!(journal(&store).await.len(), 4);
    let takes_part = |users: [_; 3]| {
        let store = store.clone();
        async move { store.follow(&users).await.expect("reads").memberships.into_iter().map(|pair| pair.0).collect() }
    };
    let mut found: Vec<_> = takes_part([ann, bob, cem]).await;
    found.sort();
    let mut expected = vec![ann, cem];
    expected.sort();
    assert_eq!(found, expected);

    let gap = ChangeSet(vec![create.0[0].clone(), cem_joins.0[0].clone()]);
    let refused = append(&store, vec![gap], vec![]).await.changes.remove(0).expect_err("no run");
    assert_eq!(refused.kind(), ErrorKind::ValidationFailed);
}

pub async fn rights_follow_changes_of_the_same_batch(location: Location) {
    let store = open(&location).await;
    let [ann, bob, cem] = users();
    let mut talk = group(&store, &[ann, bob]).await;
    let changes = vec![talk.restrict(true), talk.leave(bob), talk.join(cem)];
    let drafts = vec![talk.draft(ann, "admin"), talk.draft(bob, "removed"), talk.draft(cem, "member")];
    let appended = append(&store, changes, drafts).await;
    assert_eq!(seqs(&appended.drafts), [Ok(1), Err(ErrorKind::NotFound), Err(ErrorKind::Forbidden)]);
    let refused = appended.drafts[2].as_ref().expect_err("restricted");
    assert_eq!(refused.message(), "Only admins can post messages here");

    let changes = vec![talk.role(cem, Role::Admin), talk.role(ann, Role::Member)];
    let drafts = vec![talk.draft(ann, "demoted"), talk.draft(cem, "promoted")];
    assert_eq!(seqs(&append(&store, changes, drafts).await.drafts), [Err(ErrorKind::Forbidden), Ok(2)]);
    let drafts = vec![talk.draft(ann, "open again")];
    assert_eq!(seqs(&append(&store, vec![talk.restrict(false)], drafts).await.drafts), [Ok(3)]);
}

pub async fn a_p2p_conversation_is_found_by_its_users(location: Location) {
    let store = open(&location).await;
    let [ann, bob, cem] = users();
    let mut talk = Talk::p2p();
    append(&store, vec![talk.create(&[ann, bob])], vec![]).await;
    let found = store.find_p2p(&[(ann, bob), (ann, cem), (bob, ann)]).await.expect("reads");
    assert_eq!(found, [Some(talk.id), None, Some(talk.id)]);
    let group_only = ResolvedDraft { group_only: true, ..talk.draft(ann, "to a group") };
    let drafts = vec![group_only, talk.draft(bob, "hello")];
    assert_eq!(seqs(&append(&store, vec![], drafts).await.drafts), [Err(ErrorKind::NotFound), Ok(1)]);
}

/// The conversation context never does this; if it did, the second one would be refused, alone.
pub async fn one_pair_has_one_conversation(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let (mut first, mut second, mut other) = (Talk::p2p(), Talk::p2p(), Talk::group());
    let changes = vec![first.create(&[ann, bob]), second.create(&[bob, ann]), other.create(&[ann])];
    let appended = store.append(Batch { changes, drafts: vec![] }, at(1)).await.expect("committed");
    let held: Vec<_> = appended.changes.into_iter().map(|set| set.map_err(|error| error.kind())).collect();
    assert_eq!(held, [Ok(1), Err(ErrorKind::Internal), Ok(1)]);
    assert_eq!(store.find_p2p(&[(ann, bob)]).await.expect("reads"), [Some(first.id)]);
}
