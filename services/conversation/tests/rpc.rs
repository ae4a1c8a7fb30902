//! The service as its callers have it, on both engines, with the faults of its peers.

mod faults;
mod peers;
mod support;

use std::time::Duration;

use faults::{
    a_journal_that_is_away, a_journal_that_lost_changes, a_long_outbox, a_process_that_freezes,
    a_refusal_waits_for_the_journal_too, an_answer_that_is_lost,
};
use futures_util::future::join_all;
use messenger_core::{
    ErrorKind, UserId,
    limits::{CONVERSATIONS_BY_OTHERS_MAX, CONVERSATIONS_PER_USER_MAX},
};
use messenger_db::Location;
use messenger_proto::{
    conversation::v1 as proto,
    event::v1::{Role, conversation_changed::Change},
    message::v1::draft::Target,
};
use messenger_rpc::request_as;
use peers::{
    Fault, Journal,
    process::{NOBODY, Process, kind, user},
    real::Trio,
};
use support::{on_both_stores, open};

on_both_stores!(
    a_pair_has_one_conversation,
    a_p2p_conversation_cannot_be_changed,
    a_group_from_beginning_to_end,
    a_repeat_makes_no_second_group,
    rights,
    the_last_admin_stays_in_a_race,
    what_was_meant_for_another_version_is_refused,
    the_last_participant_may_leave,
    groups_are_bounded,
    conversations_of_a_user_are_bounded,
    bad_input_is_refused,
    lists_are_complete,
    a_journal_that_is_away,
    a_refusal_waits_for_the_journal_too,
    an_answer_that_is_lost,
    a_process_that_freezes,
    a_journal_that_lost_changes,
    a_long_outbox,
    rights_hold_for_the_next_message,
);

/// Two processes on one store, and the journal they feed.
async fn two(location: &Location) -> (Process, Process, Journal) {
    let journal = Journal::new();
    (Process::start(location, &journal).await, Process::start(location, &journal).await, journal)
}

fn id_of(found: &proto::GetOrCreateP2pResponse) -> String {
    let view = found.conversation.as_ref().and_then(|view| view.conversation.as_ref());
    view.expect("the conversation").id.clone()
}

async fn a_pair_has_one_conversation(location: Location) {
    let (one, other, journal) = two(&location).await;
    let (ann, bob) = (user(), user());
    let calls = (0..20).map(|n| {
        let (process, caller, peer) = if n % 2 == 0 { (one.clone(), ann, bob) } else { (other.clone(), bob, ann) };
        tokio::spawn(async move { process.p2p(caller, peer).await })
    });
    let found: Vec<_> =
        join_all(calls).await.into_iter().map(|call| call.expect("no panic").expect("answered")).collect();
    assert_eq!(found.iter().filter(|found| found.created).count(), 1);
    let id = id_of(&found[0]);
    assert!(found.iter().all(|found| id_of(found) == id));
    assert_eq!((journal.conversation_count(), journal.versions(&id)), (1, vec![1]));

    let view = one.view(bob, &id).await.expect("takes part");
    assert_eq!((view.role(), view.peer_user_id), (Role::Member, ann.to_string()));
    let Some(Change::Created(created)) = journal.changes(&id)[0].change.clone() else { panic!("created first") };
    assert_eq!(created.participants.len(), 2);
    assert_eq!(kind(one.p2p(ann, ann).await), Some(ErrorKind::ValidationFailed));
    assert_eq!(kind(one.p2p(ann, NOBODY).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(one.p2p(NOBODY, ann).await), Some(ErrorKind::NotFound));
}

async fn a_p2p_conversation_cannot_be_changed(location: Location) {
    let (one, _, journal) = two(&location).await;
    let (ann, bob) = (user(), user());
    let id = id_of(&one.p2p(ann, bob).await.expect("made"));
    let refused = [
        kind(one.update(ann, &id, Some("n"), None).await),
        kind(one.add(ann, &id, &[user()]).await),
        kind(one.give(ann, &id, bob, Role::Admin).await),
        kind(one.remove(ann, &id, bob).await),
        kind(one.remove(ann, &id, ann).await),
    ];
    assert_eq!(refused, [Some(ErrorKind::ValidationFailed); 5]);
    assert_eq!(kind(one.remove(user(), &id, ann).await), Some(ErrorKind::NotFound));
    assert_eq!(journal.versions(&id), [1]);
}

async fn a_repeat_makes_no_second_group(location: Location) {
    let (one, other, journal) = two(&location).await;
    let [ann, bob, cid] = [user(), user(), user()];
    let request = |name: &str, key: &str, members: &[UserId]| proto::CreateGroupRequest {
        name: name.to_owned(),
        member_ids: members.iter().map(UserId::to_string).collect(),
        client_group_id: Some(key.to_owned()),
        ..Default::default()
    };
    let calls = (0..20).map(|n| {
        let process = if n % 2 == 0 { one.clone() } else { other.clone() };
        let members = if n % 3 == 0 { [bob, cid] } else { [cid, bob] };
        let request = request("team", "k", &members);
        tokio::spawn(async move { process.create(ann, request).await })
    });
    let made: Vec<_> = join_all(calls).await.into_iter().map(|call| call.expect("no panic").expect("made")).collect();
    assert!(made.iter().all(|id| *id == made[0]));
    assert_eq!((journal.conversation_count(), journal.versions(&made[0])), (1, vec![1]));

    let reused = Some(ErrorKind::IdempotencyKeyReused);
    assert_eq!(kind(one.create(ann, request("other", "k", &[bob, cid])).await), reused);
    assert_eq!(kind(one.create(ann, request("team", "k", &[bob])).await), reused);
    let restricted = proto::CreateGroupRequest { is_restricted: true, ..request("team", "k", &[bob, cid]) };
    assert_eq!(kind(one.create(ann, restricted).await), reused);
    assert_ne!(other.create(ann, request("team", "K", &[bob, cid])).await.expect("another key"), made[0]);
    assert_ne!(other.create(bob, request("team", "k", &[bob, cid])).await.expect("another creator"), made[0]);
    for key in ["", &"k".repeat(65), "a\nb"] {
        assert_eq!(kind(one.create(ann, request("team", key, &[])).await), Some(ErrorKind::ValidationFailed));
    }

    // The group has changed since, the request has not.
    one.update(ann, &made[0], Some("renamed"), None).await.expect("updated");
    one.give(ann, &made[0], bob, Role::Admin).await.expect("promoted");
    assert_eq!(other.create(ann, request("team", "k", &[bob, cid])).await.expect("repeated"), made[0]);
    one.remove(bob, &made[0], ann).await.expect("removed");
    let gone = other.create(ann, request("team", "k", &[bob, cid])).await;
    assert_eq!(kind(gone), Some(ErrorKind::NotFound), "not the creator's to see any more");

    one.wire.set(Fault::Down);
    for _ in 0..2 {
        let lost = one.create(ann, request("team", "lost", &[bob])).await;
        assert_eq!(kind(lost), Some(ErrorKind::Unavailable), "recorded, but not in the journal");
    }
    one.wire.set(Fault::None);
    let found = one.create(ann, request("team", "lost", &[bob])).await.expect("asked again");
    assert_eq!((journal.conversation_count(), journal.versions(&found)), (4, vec![1]));
}

async fn a_group_from_beginning_to_end(location: Location) {
    let (one, other, journal) = two(&location).await;
    let [ann, bob, cid, dan] = [user(), user(), user(), user()];
    let id = one.group(ann, &[bob, bob, ann], false).await.expect("made");
    assert_eq!(one.view(ann, &id).await.expect("seen").role(), Role::Admin);

    let added = other.add(ann, &id, &[cid, bob, dan]).await.expect("added");
    let names: Vec<_> = added.iter().map(|added| added.user_id.clone()).collect();
    assert_eq!(names, [cid, bob, dan].map(|user| user.to_string()), "all of the asked, in their order");
    one.add(ann, &id, &[cid, dan]).await.expect("nothing to do");
    other.update(ann, &id, Some(" Team "), Some(true)).await.expect("updated");
    one.update(ann, &id, Some("Team"), Some(true)).await.expect("nothing to do");
    one.give(ann, &id, bob, Role::Admin).await.expect("promoted");
    one.give(ann, &id, bob, Role::Admin).await.expect("nothing to do");
    other.give(bob, &id, ann, Role::Member).await.expect("demoted");
    one.remove(bob, &id, cid).await.expect("removed");
    assert_eq!(kind(one.remove(bob, &id, cid).await), Some(ErrorKind::NotFound));
    other.remove(dan, &id, dan).await.expect("left");
    one.add(bob, &id, &[cid]).await.expect("added again");

    let changes = journal.changes(&id);
    assert_eq!(journal.versions(&id), [1, 2, 3, 4, 5, 6, 7, 8]);
    let counts: Vec<_> =
        changes.iter().filter_map(|change| change.conversation.as_ref()).map(|now| now.participant_count).collect();
    assert_eq!(counts, [2, 4, 4, 4, 4, 3, 2, 3]);
    let kinds = changes.iter().map(|change| match change.change.as_ref().expect("a change") {
        Change::Created(created) => format!("created {}", created.participants.len()),
        Change::Updated(_) => "updated".to_owned(),
        Change::ParticipantsAdded(added) => format!("added {}", added.participants.len()),
        Change::ParticipantUpdated(updated) => {
            format!("updated {:?}", updated.participant.as_ref().expect("whose").role())
        }
        Change::ParticipantRemoved(removed) => format!("removed {}", removed.user_id == removed.removed_by),
    });
    let expected = [
        "created 2",
        "added 2",
        "updated",
        "updated Admin",
        "updated Member",
        "removed false",
        "removed true",
        "added 1",
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    let now = one.view(bob, &id).await.expect("seen").conversation.expect("the group");
    assert_eq!((now.name.as_str(), now.is_restricted, now.participant_count, now.version), ("Team", true, 3, 8));
    assert_eq!(changes[7].conversation.as_ref(), Some(&now), "the journal ends with what is");
}

async fn rights(location: Location) {
    let (one, _, journal) = two(&location).await;
    let [ann, bob, eve] = [user(), user(), user()];
    let id = one.group(ann, &[bob], true).await.expect("made");
    for (caller, expected) in [(bob, ErrorKind::Forbidden), (eve, ErrorKind::NotFound)] {
        let refused = [
            kind(one.update(caller, &id, Some("n"), None).await),
            // Also what would change nothing, and about users who do not exist.
            kind(one.update(caller, &id, None, Some(true)).await),
            kind(one.add(caller, &id, &[NOBODY]).await),
            kind(one.give(caller, &id, bob, Role::Admin).await),
            kind(one.remove(caller, &id, ann).await),
        ];
        assert_eq!(refused, [Some(expected); 5], "{expected:?}");
    }
    let unknown = user().to_string();
    for id in [&id, &unknown] {
        assert_eq!(kind(one.view(eve, id).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(one.participants(eve, id, 0, "").await), Some(ErrorKind::NotFound));
        assert_eq!(kind(one.remove(eve, id, eve).await), Some(ErrorKind::NotFound));
    }
    assert_eq!(kind(one.add(ann, &id, &[NOBODY]).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(one.give(ann, &id, eve, Role::Admin).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(one.group(ann, &[NOBODY], true).await), Some(ErrorKind::NotFound));
    let nobody_named = proto::GetConversationRequest { conversation_id: id.clone() };
    assert_eq!(kind(one.client.clone().get_conversation(nobody_named).await), Some(ErrorKind::Unauthenticated));
    assert_eq!(journal.versions(&id), [1]);
}

async fn the_last_admin_stays_in_a_race(location: Location) {
    let (one, other, journal) = two(&location).await;
    let admins: Vec<UserId> = (0..8).map(|_| user()).collect();
    let id = one.group(admins[0], &admins, false).await.expect("made");
    one.add(admins[0], &id, &[user()]).await.expect("a member");
    for admin in &admins[1..] {
        one.give(admins[0], &id, *admin, Role::Admin).await.expect("promoted");
    }
    let goings = admins.iter().enumerate().map(|(n, admin)| {
        let (process, id, admin) = (if n % 2 == 0 { one.clone() } else { other.clone() }, id.clone(), *admin);
        tokio::spawn(async move {
            match n % 3 {
                0 => process.remove(admin, &id, admin).await,
                _ => process.give(admin, &id, admin, Role::Member).await.map(drop),
            }
        })
    });
    let results: Vec<_> = join_all(goings).await.into_iter().map(|going| kind(going.expect("no panic"))).collect();
    assert_eq!(results.iter().filter(|kind| kind.is_none()).count(), 7);
    assert!(results.contains(&Some(ErrorKind::LastAdmin)));
    assert_eq!(journal.versions(&id), (1..=16).collect::<Vec<_>>());
}

/// What was asked for without an answer cannot be done after a later change.
async fn what_was_meant_for_another_version_is_refused(location: Location) {
    let (one, other, journal) = two(&location).await;
    let (ann, bob, cid) = (user(), user(), user());
    let id = one.group(ann, &[bob], false).await.expect("made");
    one.update(ann, &id, Some("second"), None).await.expect("renamed");
    let (late, conflict) = (other.expecting(1), Some(ErrorKind::VersionConflict));
    assert_eq!(kind(late.update(ann, &id, Some("third"), None).await), conflict);
    assert_eq!(kind(late.add(ann, &id, &[cid]).await), conflict);
    assert_eq!(kind(late.give(ann, &id, bob, Role::Admin).await), conflict);
    assert_eq!(kind(late.remove(ann, &id, bob).await), conflict);
    assert_eq!(kind(late.remove(bob, &id, bob).await), conflict);
    assert_eq!(kind(late.remove(cid, &id, cid).await), Some(ErrorKind::NotFound), "nothing for outsiders");
    assert_eq!(kind(late.update(bob, &id, None, Some(true)).await), Some(ErrorKind::Forbidden));
    assert_eq!(journal.versions(&id), [1, 2]);

    let (here, there) = (one.expecting(2), other.expecting(2));
    let (promoted, removed) = tokio::join!(here.give(ann, &id, bob, Role::Admin), there.remove(ann, &id, bob));
    let (promoted, removed) = (kind(promoted), kind(removed));
    assert!(matches!((promoted, removed), (None, kind) | (kind, None) if kind == conflict), "{promoted:?} {removed:?}");
    assert_eq!(journal.versions(&id), [1, 2, 3]);
}

async fn the_last_participant_may_leave(location: Location) {
    let (one, _, _) = two(&location).await;
    let (ann, bob) = (user(), user());
    let id = one.group(ann, &[bob], false).await.expect("made");
    assert_eq!(kind(one.remove(ann, &id, ann).await), Some(ErrorKind::LastAdmin));
    one.remove(bob, &id, bob).await.expect("left");
    assert_eq!(kind(one.give(ann, &id, ann, Role::Member).await), Some(ErrorKind::LastAdmin));
    one.remove(ann, &id, ann).await.expect("left as the last");
    assert_eq!(kind(one.view(ann, &id).await), Some(ErrorKind::NotFound));
}

async fn groups_are_bounded(location: Location) {
    let (one, _, _) = two(&location).await;
    let ann = user();
    let thousand: Vec<UserId> = (0..1_000).map(|_| user()).collect();
    assert_eq!(kind(one.group(ann, &thousand, false).await), Some(ErrorKind::GroupFull));
    let open = one.group(ann, &thousand[1..], false).await.expect("exactly 1,000");
    assert_eq!(kind(one.add(ann, &open, &thousand[..1]).await), Some(ErrorKind::GroupFull));
    one.update(ann, &open, None, Some(true)).await.expect("restricted");
    one.add(ann, &open, &thousand).await.expect("a restricted group takes more");
    assert_eq!(kind(one.update(ann, &open, Some("n"), Some(false)).await), Some(ErrorKind::GroupFull));
    one.remove(ann, &open, thousand[0]).await.expect("removed");
    one.update(ann, &open, None, Some(false)).await.expect("1,000 again");
}

async fn conversations_of_a_user_are_bounded(location: Location) {
    let (one, _, journal) = two(&location).await;
    let (ann, full) = (user(), user());
    let id = one.group(ann, &[], false).await.expect("made");
    let store = open(&location).await;
    let joins = async |count| {
        let mut tx = store.begin().await.expect("begins");
        for _ in 0..count {
            tx.join(&[full]).await.expect("counts");
        }
        tx.commit().await.expect("commits");
    };
    joins(CONVERSATIONS_BY_OTHERS_MAX - 1).await;
    one.add(ann, &id, &[full]).await.expect("the last that others add");
    let (another, refused) = (one.group(ann, &[], false).await.expect("made"), Some(ErrorKind::ValidationFailed));
    assert_eq!(kind(one.add(ann, &another, &[full]).await), refused);
    assert_eq!(kind(one.group(ann, &[full], false).await), refused);
    one.group(full, &[], false).await.expect("its own");
    joins(CONVERSATIONS_PER_USER_MAX - CONVERSATIONS_BY_OTHERS_MAX - 1).await;
    assert_eq!(kind(one.p2p(ann, full).await), refused);
    assert_eq!(kind(one.group(full, &[], false).await), refused);
    one.remove(full, &id, full).await.expect("left");
    assert!(one.p2p(ann, full).await.expect("one is free again").created);
    assert_eq!(journal.conversation_count(), 4);
}

async fn bad_input_is_refused(location: Location) {
    let (one, _, journal) = two(&location).await;
    let (ann, bad) = (user(), Some(ErrorKind::ValidationFailed));
    let id = one.group(ann, &[], false).await.expect("made");
    for text in ["", "x", "0191d3c88f7b7f008000000000000000", "' OR 1=1 --", &"a".repeat(5_000)] {
        assert_eq!(kind(one.view(ann, text).await), bad, "{text}");
    }
    for name in ["", "  ", "a\0b", "a\nb", &"n".repeat(201)] {
        assert_eq!(kind(one.update(ann, &id, Some(name), None).await), bad, "{name}");
    }
    let too_many: Vec<UserId> = (0..1_001).map(|_| user()).collect();
    assert_eq!(kind(one.add(ann, &id, &too_many).await), bad);
    assert_eq!(kind(one.add(ann, &id, &[]).await), bad);
    assert_eq!(kind(one.group(ann, &too_many, true).await), bad);
    assert_eq!(kind(one.give(ann, &id, ann, Role::Unspecified).await), bad);
    for (size, token) in [(-1, ""), (101, ""), (10, "?"), (10, "eA"), (10, &"A".repeat(600))] {
        assert_eq!(kind(one.participants(ann, &id, size, token).await), bad, "{size} {token}");
    }
    let conversation_ids = vec![id.clone(); 101];
    let request = request_as(ann, proto::BatchGetConversationsRequest { conversation_ids });
    assert_eq!(kind(one.client.clone().batch_get_conversations(request).await), bad);
    assert_eq!(journal.versions(&id), [1]);
}

async fn lists_are_complete(location: Location) {
    let (one, _, _) = two(&location).await;
    let members: Vec<UserId> = (0..12).map(|_| user()).collect();
    let ann = members[0];
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(one.group(ann, &members, false).await.expect("made"));
    }
    made.push(id_of(&one.p2p(ann, members[1]).await.expect("made")));
    made.sort_unstable();

    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = request_as(ann, proto::ListConversationsRequest { page_size: 3, page_token });
        let page = one.client.clone().list_conversations(request).await.expect("a page").into_inner();
        found.extend(page.conversations.into_iter().filter_map(|view| view.conversation).map(|found| found.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, made);
    let conversation_ids = [made.clone(), vec![user().to_string()]].concat();
    let request = request_as(members[2], proto::BatchGetConversationsRequest { conversation_ids });
    let batch = one.client.clone().batch_get_conversations(request).await.expect("a batch").into_inner();
    assert_eq!(batch.conversations.len(), 3, "neither the foreign P2P nor the unknown one");

    let group = &batch.conversations[0].conversation.as_ref().expect("a group").id;
    let first = one.participants(ann, group, 10, "").await.expect("a page");
    let second = one.participants(ann, group, 10, &first.next_page_token).await.expect("a page");
    assert_eq!((first.participants.len(), second.participants.len()), (10, 2));
    assert_eq!(second.next_page_token, "");
    let mut users: Vec<_> = members.iter().map(UserId::to_string).collect();
    users.sort_unstable();
    let listed = first.participants.into_iter().chain(second.participants).map(|part| part.user_id);
    assert_eq!(listed.collect::<Vec<_>>(), users);
}

/// With the real auth and message services: what is answered here counts there.
async fn rights_hold_for_the_next_message(location: Location) {
    let trio = Trio::start(&location).await;
    let [ann, bob, cid] = [trio.register().await, trio.register().await, trio.register().await];
    let service = &trio.process;
    assert_eq!(kind(service.group(ann, &[bob, user()], true).await), Some(ErrorKind::NotFound));
    let id = service.group(ann, &[bob], true).await.expect("made");
    let send = |sender| trio.send(sender, Target::GroupId(id.clone()));
    assert_eq!(kind(send(ann).await), None);
    assert_eq!(kind(send(bob).await), Some(ErrorKind::Forbidden));
    assert_eq!(kind(send(cid).await), Some(ErrorKind::NotFound));
    service.give(ann, &id, bob, Role::Admin).await.expect("promoted");
    assert_eq!(kind(send(bob).await), None);
    service.give(ann, &id, bob, Role::Member).await.expect("demoted");
    assert_eq!(kind(send(bob).await), Some(ErrorKind::Forbidden));
    service.update(ann, &id, None, Some(false)).await.expect("opened");
    assert_eq!(kind(send(bob).await), None);
    service.add(ann, &id, &[cid]).await.expect("added");
    assert_eq!(kind(send(cid).await), None);
    service.remove(ann, &id, bob).await.expect("removed");
    assert_eq!(kind(send(bob).await), Some(ErrorKind::NotFound));

    // A first message to a user makes the conversation, from both sides at once.
    let (from_ann, from_bob) = (Target::ReceiverId(bob.to_string()), Target::ReceiverId(ann.to_string()));
    let (one, other) = tokio::join!(trio.send(ann, from_ann), trio.send(bob, from_bob));
    let p2p = one.expect("sent");
    assert_eq!(p2p, other.expect("sent"));
    let found = service.p2p(bob, ann).await.expect("there");
    assert_eq!((id_of(&found), found.created), (p2p, false));
    let nobody = Target::ReceiverId(user().to_string());
    assert_eq!(kind(trio.send(ann, nobody).await), Some(ErrorKind::NotFound));
    assert!(trio.shutdown.drain(Duration::from_secs(30)).await);
}
