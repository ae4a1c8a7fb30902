//! Users of other identity systems, and users who are kept out.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use messenger_auth::{
    model::{Email, ForeignProfile},
    search::WordRange,
    store::{Known, Store},
};
use messenger_core::{ErrorKind, Timestamp, UserId};
use messenger_identity::foreign_user_id;
use uuid::Uuid;

use crate::{NOW, account, common::TestStore, registered, session};

fn described(issuer: &str, name: Option<&str>, as_of: Timestamp) -> ForeignProfile {
    ForeignProfile {
        user_id: foreign_user_id(issuer, "ann"),
        issuer: issuer.to_owned(),
        subject: "ann".to_owned(),
        email: Some(Email::new("ann@example.org").expect("an address")),
        full_name: name.map(str::to_owned),
        designation: None,
        as_of,
        token_at: Some(as_of),
    }
}

/// Two insertions meet in the second of two unique indexes only now and then.
const ISSUERS: usize = 100;

pub async fn a_subject_is_one_user_however_many_describe_it_at_once(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let issuers: Vec<_> = (0..ISSUERS).map(|n| n.to_string()).collect();
    for issuer in &issuers {
        let attempts = (0..10).map(|n| {
            let (store, profile) = (if n % 2 == 0 { &one } else { &other }, described(issuer, Some("Ann Lee"), NOW));
            let store = store.clone();
            tokio::spawn(async move { store.describe(profile, NOW).await })
        });
        for known in join_all(attempts).await {
            let Known { user, is_active } = known.expect("no panic").expect("described");
            let expected = (foreign_user_id(issuer, "ann"), "Ann Lee", true);
            assert_eq!((user.id, user.profile.full_name.as_str(), is_active), expected);
        }
    }
    let range = WordRange::new("lee").expect("a query");
    let found = one.search(&range, (&range.from, UserId::from_uuid(Uuid::nil())), 1_000).await.expect("searched");
    assert_eq!(found.len(), ISSUERS);
    assert!(one.is_foreign(found[0].id).await.expect("answered"));
    assert!(one.account(found[0].id).await.expect("answered").is_none(), "it has no password");
}

pub async fn the_newest_description_wins(test_store: &TestStore) {
    let store = test_store.open().await;
    let name = |known: Known| known.user.profile.full_name;
    let unnamed = name(store.describe(described("a", None, NOW), NOW).await.expect("described"));
    assert!(unnamed.starts_with("User "), "{unnamed}");
    let later = NOW.plus(Duration::from_secs(60));
    assert_eq!(name(store.describe(described("a", Some("New"), later), later).await.expect("described")), "New");
    assert_eq!(name(store.describe(described("a", Some("Old"), NOW), later).await.expect("described")), "New");
    let silent = later.plus(Duration::from_secs(60));
    assert_eq!(name(store.describe(described("a", None, silent), silent).await.expect("described")), "New");
    let found = |query: &str| WordRange::new(query).expect("a query");
    for (query, rows) in [("new", 1), ("old", 0), ("user", 0)] {
        let range = found(query);
        let users = store.search(&range, (&range.from, UserId::from_uuid(Uuid::nil())), 10).await.expect("searched");
        assert_eq!(users.len(), rows, "{query}");
    }
}

pub async fn one_address_of_two_issuers_and_of_ours(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ours, _) = registered(&store, "Ann", "ann@example.org").await;
    for issuer in ["a", "b"] {
        store.describe(described(issuer, Some("Ann"), NOW), NOW).await.expect("described");
    }
    let address = Email::new("ann@example.org").expect("an address");
    let all: BTreeSet<UserId> =
        store.users_by_email(&address, 10).await.expect("read").into_iter().map(|user| user.id).collect();
    assert_eq!(all, BTreeSet::from([ours.user.id, foreign_user_id("a", "ann"), foreign_user_id("b", "ann")]));
    let account = store.account_by_email(&address).await.expect("read").expect("ours");
    assert_eq!(account.user.id, ours.user.id, "who logs in with the address is ours");
    let taken = account_again(&store, "ann@example.org").await;
    assert_eq!(taken, Some(ErrorKind::EmailTaken));
    assert_eq!(store.users_by_email(&address, 2).await.expect("read").len(), 2);
}

async fn account_again(store: &Store, email: &str) -> Option<ErrorKind> {
    let account = account("Again", email);
    let session = session(account.user.id);
    store.register(account, Vec::new(), session).await.err().map(|error| error.kind())
}

pub async fn a_deactivated_user_begins_no_session(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, first) = registered(&store, "Ann", "ann@example.org").await;
    store.deactivate(ann.user.id, NOW).await.expect("deactivated");
    store.deactivate(ann.user.id, NOW).await.expect("again");
    assert!(store.refresh_state(first.id, 0).await.expect("answered").expect("known").is_ended);
    assert!(!store.begin_session(session(ann.user.id), &ann.password_hash).await.expect("answered"));
    let revoked = store.revocations(0, NOW, 100).await.expect("answered");
    assert_eq!((revoked.len(), revoked[0].user_id, revoked[0].session_id), (1, ann.user.id, None));
    store.reactivate(ann.user.id).await.expect("reactivated");
    assert!(store.begin_session(session(ann.user.id), &ann.password_hash).await.expect("answered"));
    let nobody = UserId::new(NOW);
    for result in [store.deactivate(nobody, NOW).await, store.reactivate(nobody).await] {
        assert_eq!(result.expect_err("nobody").kind(), ErrorKind::NotFound);
    }
}

/// Whoever is let in by a token had it counted before the deactivation was dated.
pub async fn a_deactivation_and_a_newer_token_cannot_both_win(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let user_id = foreign_user_id("a", "ann");
    one.describe(described("a", None, NOW), NOW).await.expect("described");
    for round in 1..20 {
        // Issued by a clock that is ahead.
        let token_at = NOW.plus(Duration::from_secs(round * 100));
        let admit = tokio::spawn({
            let one = one.clone();
            async move { one.describe(described("a", None, token_at), NOW).await }
        });
        let deactivate = tokio::spawn({
            let other = other.clone();
            async move { other.deactivate(user_id, NOW).await }
        });
        let (admitted, deactivated) = tokio::join!(admit, deactivate);
        deactivated.expect("no panic").expect("deactivated");
        let is_in = admitted.expect("no panic").expect("described").is_active;
        let revoked = one.revocations(0, NOW, 1_000).await.expect("answered");
        let revoked_at = revoked.last().expect("one at least").revoked_at;
        assert!(!is_in || revoked_at > token_at, "let in by a token that nothing ends");
        other.reactivate(user_id).await.expect("reactivated");
    }
}

pub async fn the_last_keys_of_a_system_are_kept(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    assert_eq!(one.foreign_keys("a").await.expect("read"), None);
    for jwks in ["one", "two"] {
        one.keep_foreign_keys("a", jwks, NOW).await.expect("kept");
        assert_eq!(other.foreign_keys("a").await.expect("read").as_deref(), Some(jwks));
    }
    assert_eq!(one.foreign_keys("b").await.expect("read"), None);
}

pub async fn row_34_the_same_tokens_are_ended_once(test_store: &TestStore) {
    let store = test_store.open().await;
    let ann = store.describe(described("a", None, NOW), NOW).await.expect("described").user.id;
    for _ in 0..3 {
        store.end_sessions(ann, NOW).await.expect("ended");
    }
    assert_eq!(store.revocations(0, NOW, 10).await.expect("answered").len(), 1);
    let later = NOW.plus(Duration::from_secs(60));
    store.describe(described("a", None, later), later).await.expect("described");
    store.end_sessions(ann, later).await.expect("ended");
    assert_eq!(store.revocations(0, later, 10).await.expect("answered").len(), 2, "a newer token");
}
