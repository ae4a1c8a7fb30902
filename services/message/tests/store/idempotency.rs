//! A repeat stores nothing new and gets the first answer.

use messenger_core::{Content, ErrorKind, Metadata};
use messenger_db::Location;
use messenger_message::model::{DraftOutcome, ResolvedDraft};

use crate::support::{append, but, group, journal, new_id, open, resent, send, seqs, users};

fn again(draft: &ResolvedDraft) -> ResolvedDraft {
    but(draft.clone(), |draft| draft.message_id = new_id())
}

fn kind(outcome: DraftOutcome) -> ErrorKind {
    outcome.expect_err("refused").kind()
}

pub async fn a_repeat_gets_the_first_answer(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    let draft = talk.keyed(ann, "once", "k");
    let twice = append(&store, vec![], vec![draft.clone(), again(&draft)]).await;
    let first = twice.drafts[0].as_ref().expect("stored");
    let second = twice.drafts[1].as_ref().expect("repeated");
    assert!(!first.repeated && second.repeated);
    assert_eq!((&second.message, twice.entries.len()), (&first.message, 1));
    let later = send(&store, again(&draft)).await.expect("repeated");
    assert!(later.repeated && later.message == first.message);
    // Keys are compared byte by byte.
    assert_eq!(send(&store, talk.keyed(ann, "once", "K")).await.expect("stored").message.seq, 2);
    assert_eq!(journal(&store).await.len(), 3);
}

pub async fn a_key_is_for_one_draft(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let (talk, other) = (group(&store, &[ann]).await, group(&store, &[ann]).await);
    let draft = talk.keyed(ann, "a", "k");
    let question = send(&store, talk.draft(ann, "?")).await.expect("stored").message.id;
    send(&store, draft.clone()).await.expect("stored");
    let content = Content::new("b").expect("content");
    let metadata = Metadata::new("{}").expect("metadata");
    for changed in [
        but(again(&draft), |draft| draft.content = content),
        ResolvedDraft { conversation_id: other.id, ..again(&draft) },
        ResolvedDraft { conversation_id: new_id(), ..again(&draft) },
        but(again(&draft), |draft| draft.reply_to_id = Some(question)),
        but(again(&draft), |draft| draft.metadata = Some(metadata)),
    ] {
        assert_eq!(kind(send(&store, changed).await), ErrorKind::IdempotencyKeyReused);
    }
}

pub async fn a_removed_sender_may_repeat(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let mut talk = group(&store, &[ann, bob]).await;
    let draft = talk.keyed(bob, "bye", "k");
    let first = send(&store, draft.clone()).await.expect("stored").message;
    append(&store, vec![talk.leave(bob)], vec![]).await;
    assert_eq!(send(&store, again(&draft)).await.expect("repeated").message, first);
    assert_eq!(kind(send(&store, talk.keyed(bob, "bye", "new")).await), ErrorKind::NotFound);
}

pub async fn a_resent_draft_needs_no_key(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let talk = group(&store, &[ann, bob]).await;
    let resent = resent(talk.draft(ann, "a"));
    assert!(!send(&store, resent.clone()).await.expect("stored").repeated);
    assert!(send(&store, resent.clone()).await.expect("repeated").repeated);
    let content = Content::new("b").expect("content");
    let changed = but(resent.clone(), |draft| draft.content = content);
    assert_eq!(kind(send(&store, changed).await), ErrorKind::IdempotencyKeyReused);
    let stolen = but(resent, |draft| draft.sender_id = bob);
    assert_eq!(kind(send(&store, stolen).await), ErrorKind::IdempotencyKeyReused);
}

pub async fn keys_belong_to_their_senders(location: Location) {
    let store = open(&location).await;
    let [ann, bob] = users();
    let talk = group(&store, &[ann, bob]).await;
    let drafts = vec![talk.keyed(ann, "a", "k"), talk.keyed(bob, "b", "k")];
    assert_eq!(seqs(&append(&store, vec![], drafts).await.drafts), [Ok(1), Ok(2)]);
}
