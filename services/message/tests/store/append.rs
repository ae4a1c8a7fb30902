//! Numbers and contents of what is appended.

use messenger_core::{ErrorKind, Metadata, Position};
use messenger_db::Location;
use messenger_message::model::{Batch, Fact};

use crate::support::{Talk, append, at, but, group, journal, new_id, open, send, seqs, users};

pub async fn numbers_have_no_gaps(location: Location) {
    let store = open(&location).await;
    let [ann, bob, eve] = users();
    let (one, two) = (group(&store, &[ann, bob]).await, group(&store, &[ann]).await);
    let repeated = one.keyed(ann, "a", "k");
    let drafts = vec![
        repeated.clone(),
        one.draft(eve, "refused"),
        two.draft(ann, "other conversation"),
        but(repeated, |draft| draft.message_id = new_id()),
        two.draft(bob, "refused"),
        one.draft(bob, "b"),
        Talk::group().draft(ann, "no such conversation"),
        one.draft(ann, "c"),
    ];
    let appended = append(&store, vec![], drafts).await;
    let not_found = Err(ErrorKind::NotFound);
    assert_eq!(seqs(&appended.drafts), [Ok(1), not_found, Ok(1), Ok(1), not_found, Ok(2), not_found, Ok(3)]);
    assert_eq!(appended.entries.len(), 4);
    let next = append(&store, vec![], vec![one.draft(bob, "d")]).await;
    assert_eq!((seqs(&next.drafts), next.previous), (vec![Ok(4)], appended.last));

    let entries = journal(&store).await;
    assert!(entries.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(entries[2..6], appended.entries);
    assert_eq!(entries[6..], next.entries);
    assert_eq!(store.journal().await.expect("reads").last, next.last);
}

pub async fn creation_times_never_fall(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    let mut times = Vec::new();
    for now in [5_000, 9_000, 2_000, i64::MIN, 9_001] {
        let batch = Batch { changes: vec![], drafts: vec![talk.draft(ann, "tick")] };
        let appended = store.append(batch, at(now)).await.expect("committed");
        times.push(appended.drafts[0].as_ref().expect("stored").message.created_at.as_micros());
    }
    assert_eq!(times, [5_000, 9_000, 9_000, 9_000, 9_001]);
}

pub async fn all_kinds_of_text_come_back(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    let texts = [
        " '\"\\ %_ {} $1 ; -- ",
        "\u{202e}\u{200d}\u{0301}\u{2028}\u{feff}\u{10ffff}\u{1}\u{7f}",
        "line\r\n\tline",
        "{\"a\":[null,\"\\u0000\"]}",
        &"😀".repeat(10_000),
    ];
    for text in texts {
        let metadata = Metadata::new(r#" {"z":1, "a":"\u0041\"ü", "n":1.0e5} "#).expect("valid");
        let key: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        let resolved = but(talk.keyed(ann, text, &key), |draft| {
            draft.metadata = Some(metadata);
            draft.origin = i64::MIN + 7;
        });
        let stored = send(&store, resolved.clone()).await.expect("stored").message;
        let (read, draft) =
            (store.message(ann, talk.id, stored.id).await.expect("reads").expect("there"), resolved.draft);
        assert_eq!((&read, &read.content), (&stored, &draft.content));
        assert_eq!((read.metadata, read.client_message_id), (draft.metadata, draft.client_message_id));
    }
    let last = journal(&store).await.pop().expect("an entry").fact;
    assert!(matches!(last, Fact::MessageSent { origin, .. } if origin == i64::MIN + 7));
}

pub async fn answers_stay_in_their_conversation(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let (one, two) = (group(&store, &[ann]).await, group(&store, &[ann]).await);
    let question = one.draft(ann, "?");
    let answer = |talk: &Talk, to| but(talk.draft(ann, "!"), |draft| draft.reply_to_id = Some(to));
    let asked = question.draft.message_id;
    let drafts = vec![question, answer(&one, asked), answer(&two, asked)];
    let outcomes = append(&store, vec![], drafts).await.drafts;
    assert_eq!(seqs(&outcomes), [Ok(1), Ok(2), Err(ErrorKind::ValidationFailed)]);
    let later = vec![answer(&one, asked), answer(&two, asked), answer(&one, new_id())];
    let invalid = Err(ErrorKind::ValidationFailed);
    assert_eq!(seqs(&append(&store, vec![], later).await.drafts), [Ok(3), invalid, invalid]);
}

pub async fn large_batches(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let talks = [group(&store, &[ann, bob]).await, group(&store, &[bob, ann]).await];
    let mut last = Position(0);
    for _ in 0..3 {
        let draft = |n: usize| talks[n % 2].keyed([ann, bob][n % 3 % 2], &"x".repeat(n), &new_id::<()>().to_string());
        let appended = append(&store, vec![], (1..=512).map(draft).collect()).await;
        assert!(appended.drafts.iter().all(Result::is_ok) && appended.previous >= last);
        assert_eq!((appended.entries.len(), appended.last.0 - appended.previous.0), (512, 512));
        last = appended.last;
    }
    assert_eq!(store.states(ann, &[talks[0].id]).await.expect("reads")[0].last_seq, 768);
}

pub async fn nothing_stored_takes_no_position(location: Location) {
    let store = open(&location).await;
    let [ann, eve] = users();
    let talk = group(&store, &[ann]).await;
    let before = store.journal().await.expect("reads");
    let appended = append(&store, vec![], vec![talk.draft(eve, "refused")]).await;
    assert_eq!((appended.previous, appended.last), (before.last, before.last));
    append(&store, vec![], vec![]).await;
    assert_eq!(store.journal().await.expect("reads"), before);
}
