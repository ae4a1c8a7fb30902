//! Changes while the journal is away, late or behind: recorded, answered UNAVAILABLE, completed later, once and in order.

use std::time::Duration;

use futures_util::future::join_all;
use messenger_conversation::model::PendingChange;
use messenger_core::{ConversationId, ErrorKind};
use messenger_db::Location;
use messenger_proto::event::v1::Role;
use messenger_telemetry::Shutdown;
use prost::Message as _;

use crate::{
    peers::{
        Fault,
        process::{kind, user},
    },
    support::open,
    two,
};

pub async fn a_journal_that_is_away(location: Location) {
    let (one, other, journal) = two(&location).await;
    let [ann, bob, cid] = [user(), user(), user()];
    let id = one.group(ann, &[bob], false).await.expect("made");
    one.wire.set(Fault::Down);
    assert_eq!(kind(one.remove(ann, &id, bob).await), Some(ErrorKind::Unavailable));
    assert_eq!(kind(one.remove(ann, &id, bob).await), Some(ErrorKind::Unavailable), "gone, but not in the journal");
    assert_eq!(
        kind(one.update(ann, &id, Some("group"), None).await),
        Some(ErrorKind::Unavailable),
        "a no-op waits too"
    );
    assert_eq!(kind(one.p2p(ann, cid).await), Some(ErrorKind::Unavailable));
    assert_eq!(kind(one.p2p(cid, ann).await), Some(ErrorKind::Unavailable), "it is there, but not in the journal");
    assert_eq!((journal.versions(&id), journal.conversation_count()), (vec![1], 1));

    // Another process finishes it, and so does this one when the journal is back.
    let shutdown = Shutdown::new();
    one.conversations.start(&shutdown);
    other.conversations.start(&shutdown);
    journal.holds(3).await;
    assert_eq!((journal.versions(&id), journal.conversation_count()), (vec![1, 2], 2));
    one.wire.set(Fault::None);
    assert_eq!(kind(one.remove(ann, &id, bob).await), Some(ErrorKind::NotFound));
    assert!(!one.p2p(cid, ann).await.expect("there").created);
    assert!(shutdown.drain(Duration::from_secs(30)).await);
}

/// A refusal by rights that the journal does not have yet is no answer.
pub async fn a_refusal_waits_for_the_journal_too(location: Location) {
    let (one, _, journal) = two(&location).await;
    let [ann, bob, cid, eve] = [user(), user(), user(), user()];
    let id = one.group(ann, &[bob, cid], false).await.expect("made");
    one.give(ann, &id, bob, Role::Admin).await.expect("promoted");
    one.wire.set(Fault::Down);
    let unavailable = Some(ErrorKind::Unavailable);
    for round in ["recorded", "asked again"] {
        assert_eq!(kind(one.remove(cid, &id, cid).await), unavailable, "leaving, {round}");
        assert_eq!(kind(one.give(bob, &id, bob, Role::Member).await), unavailable, "resigning, {round}");
    }
    // They are refused by what waits, whatever they ask for.
    for caller in [cid, bob] {
        let refused = [
            kind(one.update(caller, &id, Some("n"), None).await),
            kind(one.add(caller, &id, &[eve]).await),
            kind(one.give(caller, &id, ann, Role::Member).await),
            kind(one.remove(caller, &id, ann).await),
        ];
        assert_eq!(refused, [unavailable; 4]);
    }
    assert_eq!(kind(one.give(ann, &id, cid, Role::Admin).await), unavailable, "gone, but not in the journal");
    assert_eq!(kind(one.remove(ann, &id, ann).await), unavailable, "the last admin, but not in the journal");
    let refused = [kind(one.remove(eve, &id, eve).await), kind(one.add(eve, &id, &[bob]).await)];
    assert_eq!(refused, [Some(ErrorKind::NotFound); 2], "an outsider learns nothing");
    assert_eq!(journal.versions(&id), [1, 2]);

    one.wire.set(Fault::None);
    assert_eq!(kind(one.remove(cid, &id, cid).await), Some(ErrorKind::NotFound));
    assert_eq!(journal.versions(&id), [1, 2, 3, 4], "it was answered with what the journal has");
    assert_eq!(kind(one.give(bob, &id, bob, Role::Member).await), Some(ErrorKind::Forbidden));
    assert_eq!(kind(one.remove(ann, &id, ann).await), Some(ErrorKind::LastAdmin));
}

pub async fn an_answer_that_is_lost(location: Location) {
    let (one, _, journal) = two(&location).await;
    let (ann, bob) = (user(), user());
    let id = one.group(ann, &[bob], false).await.expect("made");
    one.wire.set(Fault::AnswersLost);
    assert_eq!(kind(one.give(ann, &id, bob, Role::Admin).await), Some(ErrorKind::Unavailable));
    assert_eq!(kind(one.give(ann, &id, bob, Role::Admin).await), Some(ErrorKind::Unavailable));
    one.wire.set(Fault::None);
    assert_eq!(one.give(ann, &id, bob, Role::Admin).await.expect("asked again").role(), Role::Admin);
    assert_eq!(journal.versions(&id), [1, 2], "once");
    assert!(open(&location).await.undelivered(None, 1).await.expect("reads").is_empty());
}

pub async fn a_process_that_freezes(location: Location) {
    let (frozen, other, journal) = two(&location).await;
    let (ann, bob) = (user(), user());
    let id = other.group(ann, &[bob], false).await.expect("made");
    // It has read its outbox and sent it, but what it sent arrives late: others overtake it.
    frozen.wire.set(Fault::Held);
    let late = tokio::spawn({
        let (frozen, id) = (frozen.clone(), id.clone());
        async move { frozen.remove(ann, &id, bob).await }
    });
    frozen.wire.held(1).await;
    other.add(ann, &id, &[bob]).await.expect("added again");
    assert_eq!(journal.versions(&id), [1, 2, 3]);
    frozen.wire.set(Fault::None);
    late.await.expect("no panic").expect("its change is in the journal");
    assert_eq!(journal.versions(&id), [1, 2, 3], "nothing twice, nothing falls back");
    assert_eq!(other.view(bob, &id).await.expect("takes part").role(), Role::Member);
}

pub async fn a_journal_that_lost_changes(location: Location) {
    let (one, _, journal) = two(&location).await;
    let ann = user();
    let id = one.group(ann, &[], false).await.expect("made");
    one.update(ann, &id, Some("two"), None).await.expect("updated");
    one.update(ann, &id, Some("three"), None).await.expect("updated");
    let whole = journal.changes(&id);
    journal.replace(&id, whole[..1].to_vec());
    // The journal answers the gap with its version; what would close it is gone from the outbox.
    assert_eq!(kind(one.update(ann, &id, Some("four"), None).await), Some(ErrorKind::Unavailable));
    assert_eq!(journal.versions(&id), [1], "no change out of order");
    journal.replace(&id, whole);
    one.update(ann, &id, Some("four"), None).await.expect("asked again");
    assert_eq!(journal.versions(&id), [1, 2, 3, 4]);
}

/// More than fits into one call, by number and by bytes.
pub async fn a_long_outbox(location: Location) {
    let (one, other, journal) = two(&location).await;
    let ann = user();
    let id = one.group(ann, &[], false).await.expect("made");
    let mut changed = journal.changes(&id).remove(0);
    let conversation = ConversationId::parse("id", &id).expect("an id");
    let mut tx = open(&location).await.begin().await.expect("begins");
    for version in 2..=230 {
        let after = changed.conversation.as_mut().expect("the group");
        after.version = version;
        after.name = "n".repeat(if version % 10 == 0 { 200_000 } else { 10 });
        let change = PendingChange { version, body: changed.encode_to_vec() };
        tx.record(conversation, &change).await.expect("records");
    }
    tx.commit().await.expect("commits");
    let both = [&one, &other].map(|process| process.update(ann, &id, Some("group"), None));
    join_all(both).await.into_iter().for_each(|done| drop(done.expect("all is in the journal")));
    assert_eq!(journal.versions(&id), (1..=230).collect::<Vec<_>>());
    assert!(open(&location).await.undelivered(None, 1).await.expect("reads").is_empty());
}
