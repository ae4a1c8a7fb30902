//! History, conversations, read positions.

use std::sync::Arc;

use messenger_core::{ErrorKind, Position, UserId};
use messenger_db::Location;
use messenger_message::{
    model::{Batch, HistoryFrom, Message, ReadUpTo},
    store::Store,
};

use crate::support::{Talk, append, at, group, new_id, open, rows, send, users};

/// 30 messages in batches of 3, each batch a second (in microseconds) after the one before.
async fn said(store: &Arc<dyn Store>, talk: &Talk, sender: UserId) -> Vec<Message> {
    let mut messages = Vec::new();
    for batch in 1..=10 {
        let drafts = (0..3).map(|n| talk.draft(sender, &format!("{batch}.{n}"))).collect();
        let appended = store.append(Batch { changes: vec![], drafts }, at(batch * 1_000_000)).await.expect("committed");
        messages.extend(appended.drafts.into_iter().map(|outcome| outcome.expect("stored").message));
    }
    messages
}

pub async fn history_is_complete_in_every_direction(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let (talk, noise) = (group(&store, &[ann, bob]).await, group(&store, &[ann]).await);
    send(&store, noise.draft(ann, "elsewhere")).await.expect("stored");
    let messages = said(&store, &talk, ann).await;
    let newest_first: Vec<_> = messages.iter().rev().cloned().collect();

    let mut back = Vec::new();
    let mut from = HistoryFrom::Newest;
    loop {
        let page = store.history(bob, talk.id, from, rows(7)).await.expect("reads");
        back.extend(page.messages);
        assert_eq!(page.has_more, back.len() < 30);
        if !page.has_more {
            break;
        }
        from = HistoryFrom::Before(back[back.len() - 1].id);
    }
    assert_eq!(back, newest_first);

    let mut forth = vec![messages[0].clone()];
    loop {
        let from = HistoryFrom::After(forth[forth.len() - 1].id);
        let page = store.history(bob, talk.id, from, rows(7)).await.expect("reads");
        forth.extend(page.messages);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(forth, messages);

    let around = |n: usize, size| store.history(bob, talk.id, HistoryFrom::Around(messages[n].id), rows(size));
    let page = around(15, 6).await.expect("reads");
    assert_eq!((&page.messages[..], page.has_more), (&newest_first[11..17], true));
    let page = around(29, 100).await.expect("reads");
    assert_eq!((&page.messages[..], page.has_more), (&newest_first[..], false));
    assert_eq!(around(0, 1).await.expect("reads").messages, [messages[0].clone()]);
    let page = store.history(bob, talk.id, HistoryFrom::Before(messages[0].id), rows(7)).await.expect("reads");
    assert!(page.messages.is_empty() && !page.has_more);
}

pub async fn history_from_a_time(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    let messages = said(&store, &talk, ann).await;
    let first_at = async |time| {
        let page = store.history(ann, talk.id, HistoryFrom::At(at(time)), rows(2)).await.expect("reads");
        page.messages.first().map(|message| message.seq)
    };
    assert_eq!(first_at(999_999).await, None);
    assert_eq!(first_at(1_000_000).await, Some(3));
    assert_eq!(first_at(5_999_999).await, Some(15));
    assert_eq!(first_at(i64::MAX).await, Some(messages[29].seq));
}

pub async fn outsiders_and_removed_read_nothing(location: Location) {
    let store = open(&location).await;
    let [ann, bob, eve] = users();
    let (mut talk, other) = (group(&store, &[ann, bob]).await, group(&store, &[ann, eve]).await);
    let message = send(&store, talk.draft(bob, "secret")).await.expect("stored").message;
    let foreign = send(&store, other.draft(ann, "elsewhere")).await.expect("stored").message;
    append(&store, vec![talk.leave(bob)], vec![]).await;
    for user in [bob, eve, new_id()] {
        for from in [
            HistoryFrom::Newest,
            HistoryFrom::Before(message.id),
            HistoryFrom::After(message.id),
            HistoryFrom::Around(message.id),
            HistoryFrom::At(at(i64::MAX)),
        ] {
            let refused = store.history(user, talk.id, from, rows(5)).await.expect_err("no participant");
            assert_eq!(refused.kind(), ErrorKind::NotFound, "{from:?}");
        }
        assert_eq!(store.message(user, talk.id, message.id).await.expect("reads"), None);
        assert!(store.states(user, &[talk.id]).await.expect("reads").is_empty());
        let refused = store.read_positions(user, talk.id, &[ann]).await.expect_err("no participant");
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        let refused = store.mark_read(user, talk.id, ReadUpTo::Seq(1), at(1)).await.expect_err("no participant");
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
    for from in [HistoryFrom::Before(foreign.id), HistoryFrom::After(new_id()), HistoryFrom::Around(foreign.id)] {
        let refused = store.history(ann, talk.id, from, rows(5)).await.expect_err("not of this conversation");
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
    assert_eq!(store.message(ann, talk.id, foreign.id).await.expect("reads"), None);
    append(&store, vec![talk.join(bob)], vec![]).await;
    let page = store.history(bob, talk.id, HistoryFrom::Newest, rows(5)).await.expect("reads");
    assert_eq!(page.messages, [message]);
}

pub async fn unread_counts(location: Location) {
    let store = open(&location).await;
    let [ann, bob, cem] = users();
    let (mut talk, other) = (group(&store, &[ann, bob]).await, group(&store, &[ann]).await);
    let foreign = send(&store, other.draft(ann, "elsewhere")).await.expect("stored").message.id;
    let messages = said(&store, &talk, ann).await;
    append(&store, vec![talk.join(cem)], vec![talk.draft(bob, "31")]).await;
    let id = talk.id;
    let unread = async |user| {
        let state = store.states(user, &[id]).await.expect("reads").remove(0);
        state.last_seq - state.read_seq
    };
    // A sender has read up to its own, a new one begins where it joins.
    assert_eq!([unread(ann).await, unread(bob).await, unread(cem).await], [1, 0, 1]);

    let read = async |user, up_to| {
        let state = store.mark_read(user, id, up_to, at(77)).await.expect("participant");
        (state.read_seq, state.rose, state.last_seq, state.participant_count)
    };
    append(&store, vec![], vec![talk.draft(cem, "32"), talk.draft(cem, "33")]).await;
    assert_eq!(read(ann, ReadUpTo::Message(messages[4].id)).await, (30, false, 33, 3));
    assert_eq!(read(ann, ReadUpTo::Seq(32)).await, (32, true, 33, 3));
    assert_eq!(read(ann, ReadUpTo::Seq(31)).await, (32, false, 33, 3));
    assert_eq!(read(ann, ReadUpTo::Seq(i64::MAX)).await, (33, true, 33, 3));
    assert_eq!(read(ann, ReadUpTo::Seq(i64::MIN)).await, (33, false, 33, 3));
    let newest = store.history(bob, talk.id, HistoryFrom::Newest, rows(1)).await.expect("reads").messages.remove(0);
    assert_eq!(read(bob, ReadUpTo::Message(newest.id)).await, (33, true, 33, 3));
    for id in [foreign, new_id()] {
        let refused = store.mark_read(bob, talk.id, ReadUpTo::Message(id), at(1)).await.expect_err("foreign");
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
    // Whoever is added again begins where it joins again.
    append(&store, vec![talk.leave(cem)], vec![talk.draft(ann, "34")]).await;
    append(&store, vec![talk.join(cem)], vec![]).await;
    assert_eq!([unread(ann).await, unread(bob).await, unread(cem).await], [0, 1, 0]);
}

pub async fn conversations_by_last_activity(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let mut talks = Vec::new();
    for n in 0..12 {
        let mut talk = Talk::group();
        // Two of each time: the id decides between them.
        let batch = Batch { changes: vec![talk.create(&[ann, bob])], drafts: vec![] };
        store.append(batch, at(100 + n / 2)).await.expect("committed");
        talks.push(talk);
    }
    let drafts = vec![talks[3].draft(bob, "first"), talks[3].draft(bob, "last"), talks[8].draft(ann, "other")];
    store.append(Batch { changes: vec![], drafts }, at(900)).await.expect("committed");
    append(&store, vec![talks[0].leave(ann)], vec![]).await;

    let mut listed = Vec::new();
    loop {
        let after = listed
            .last()
            .map(|state: &messenger_message::model::ConversationState| (state.last_activity_at, state.conversation_id));
        let mut page = store.conversations(ann, after, rows(3)).await.expect("reads");
        let has_more = page.len() == 4;
        page.truncate(3);
        listed.extend(page);
        if !has_more {
            break;
        }
    }
    assert_eq!(listed.len(), 11);
    assert!(listed.is_sorted_by_key(|state| std::cmp::Reverse((state.last_activity_at, state.conversation_id))));
    let state = listed.iter().find(|state| state.conversation_id == talks[3].id).expect("listed");
    assert_eq!(state.last_message.as_ref().expect("said").content.as_str(), "last");
    assert_eq!((state.last_seq, state.read_seq, state.read_at, state.last_activity_at), (2, 0, None, at(900)));
    assert!(listed[..2].contains(state) && listed[2..].iter().all(|state| state.last_message.is_none()));
}

pub async fn states_and_read_positions(location: Location) {
    let store = open(&location).await;
    let [ann, bob, eve] = users();
    let talk = group(&store, &[ann, bob]).await;
    let other = group(&store, &[bob]).await;
    let sent = send(&store, talk.draft(ann, "hello")).await.expect("stored").message;
    let states = store.states(ann, &[talk.id, other.id, new_id()]).await.expect("reads");
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].read_seq, states[0].read_at), (1, Some(sent.created_at)));
    assert_eq!(states[0].last_message, Some(sent.clone()));
    let mut positions = store.read_positions(bob, talk.id, &[ann, bob, eve]).await.expect("reads");
    positions.sort_by_key(|position| position.read_seq);
    let found: Vec<_> =
        positions.iter().map(|position| (position.user_id, position.read_seq, position.read_at)).collect();
    assert_eq!(found, [(bob, 0, None), (ann, 1, Some(sent.created_at))]);
    assert!(store.read_positions(bob, talk.id, &[]).await.expect("reads").is_empty());
    assert!(store.states(ann, &[]).await.expect("reads").is_empty());
    assert!(store.follow(&[eve]).await.expect("reads").position > Position(0));
}
