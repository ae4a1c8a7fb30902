//! The contract of the stores: one suite, run on both engines.

#[path = "../common/mod.rs"]
mod common;
mod keys;
mod other_systems;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::TestStore;
use futures_util::future::join_all;
use messenger_auth::{
    TokenConfig, build,
    model::{Account, Digest, Email, NewSession, PasswordChange, Profile, ProfileChange, Rotation, User},
    search::{WordRange, words},
    store::Store,
};
use messenger_core::{ErrorKind, ManualClock, SessionId, Timestamp, UserId};
use messenger_identity::Revocation;
use messenger_telemetry::Shutdown;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use self::{
    keys::{keys_are_agreed_on, keys_are_sealed_in_place, keys_take_turns},
    other_systems::{
        a_deactivated_user_begins_no_session, a_deactivation_and_a_newer_token_cannot_both_win,
        a_subject_is_one_user_however_many_describe_it_at_once, one_address_of_two_issuers_and_of_ours,
        row_34_the_same_tokens_are_ended_once, the_last_keys_of_a_system_are_kept, the_newest_description_wins,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let test_store = super::TestStore::sqlite();
                super::$name(&test_store).await;
                test_store.remove().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let test_store = super::TestStore::postgres().await;
                super::$name(&test_store).await;
                test_store.remove().await;
            })*
        }
    };
}

contract!(
    keys_are_agreed_on,
    one_of_ten_registrations_wins,
    accounts_are_found,
    a_search_shows_each_user_once,
    a_search_looks_at_so_many_words,
    profiles_change_in_parts,
    a_changed_password_lets_no_session_begin,
    a_password_change_and_a_login_cannot_both_win,
    places_are_known_to_those_who_began_there,
    one_of_ten_rotations_wins,
    uses_are_forgotten_after_the_grace,
    a_session_is_ended_once_and_by_its_user,
    revocations_come_in_the_order_of_their_numbers,
    a_revocation_of_all_is_later_than_every_token,
    what_is_over_is_purged,
    more_than_one_purge_removes_leaves_in_one_go,
    keys_take_turns,
    keys_are_sealed_in_place,
    a_subject_is_one_user_however_many_describe_it_at_once,
    the_newest_description_wins,
    one_address_of_two_issuers_and_of_ours,
    a_deactivated_user_begins_no_session,
    a_deactivation_and_a_newer_token_cannot_both_win,
    the_last_keys_of_a_system_are_kept,
    row_34_the_same_tokens_are_ended_once,
);

fn account(name: &str, email: &str) -> Account {
    let user = User {
        id: UserId::new(NOW),
        email: Email::new(email).expect("an address"),
        profile: Profile::new(name, "Engineer").expect("a profile"),
        created_at: NOW,
    };
    Account { user, password_hash: "$argon2id$one".to_owned() }
}

fn session(user_id: UserId) -> NewSession {
    let expires_at = NOW.plus(MONTH);
    let (id, token_digest) = (SessionId::new(NOW), digest(0));
    NewSession { id, user_id, user_agent: "test".to_owned(), place: None, created_at: NOW, expires_at, token_digest }
}

const fn digest(generation: u8) -> Digest {
    [generation; 32]
}

async fn places_are_known_to_those_who_began_there(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, first) = registered(&store, "Ann", "ann@example.org").await;
    let (bob, _) = registered(&store, "Bob", "bob@example.org").await;
    let (here, there) = (digest(1), digest(2));
    assert!(!store.knows_place(ann.user.id, &here).await.expect("asked"), "nothing was said");
    let session = NewSession { id: SessionId::new(NOW), place: Some(here), ..first };
    assert!(store.begin_session(session.clone(), &ann.password_hash).await.expect("begun"));
    store.end_session(ann.user.id, session.id, NOW).await.expect("ended");
    for (user, place, is_known) in [(&ann, here, true), (&ann, there, false), (&bob, here, false)] {
        assert_eq!(store.knows_place(user.user.id, &place).await.expect("asked"), is_known);
    }
}

async fn registered(store: &Store, name: &str, email: &str) -> (Account, NewSession) {
    let account = account(name, email);
    let session = session(account.user.id);
    let words = words(&account.user.profile.full_name);
    store.register(account.clone(), words, session.clone()).await.expect("registered");
    (account, session)
}

fn rotation(session_id: SessionId, generation: u8, used_at: Timestamp) -> Rotation {
    Rotation {
        session_id,
        generation: generation.into(),
        from: digest(generation),
        to: digest(generation + 1),
        used_at,
        expires_at: used_at.plus(MONTH),
        forget_before: used_at.minus(Duration::from_secs(10)),
    }
}

async fn one_of_ten_registrations_wins(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let attempts = (0..10).map(|n| {
        let store = if n % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move {
            let account = account("Ann", "ann@example.org");
            let session = session(account.user.id);
            store.register(account, vec!["ann".to_owned()], session).await
        })
    });
    let results: Vec<_> = join_all(attempts).await.into_iter().map(|result| result.expect("no panic")).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.kind() == ErrorKind::EmailTaken));
    let range = WordRange::new("ann").expect("a query");
    let found = one.search(&range, (&range.from, UserId::from_uuid(Uuid::nil())), 100).await.expect("found");
    assert_eq!(found.len(), 1, "the others left nothing behind");
}

async fn accounts_are_found(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, _) = registered(&store, "Ann Lee", "ann@example.org").await;
    let (bob, _) = registered(&store, "Bob", "bob@example.org").await;
    let by_email = store.account_by_email(&ann.user.email).await.expect("answered").expect("known");
    assert_eq!((by_email.user, by_email.password_hash), (ann.user.clone(), ann.password_hash));
    assert_eq!(store.account(bob.user.id).await.expect("answered").expect("known").user, bob.user);
    let nobody = UserId::new(NOW);
    let unknown = Email::new("x@example.org").expect("an address");
    assert!(store.account_by_email(&unknown).await.expect("answered").is_none());
    assert!(store.account(nobody).await.expect("answered").is_none());
    let users = store.users(&[bob.user.id, nobody, ann.user.id]).await.expect("answered");
    let ids: BTreeSet<_> = users.iter().map(|user| user.id).collect();
    assert_eq!(ids, BTreeSet::from([ann.user.id, bob.user.id]));
}

async fn a_search_shows_each_user_once(test_store: &TestStore) {
    let store = test_store.open().await;
    let mut expected = BTreeSet::new();
    for n in 0..25 {
        // Found by the first name and by the last name.
        let (account, _) = registered(&store, &format!("Ann{n} Anning"), &format!("ann.{n}@example.org")).await;
        expected.insert(account.user.id);
        registered(&store, &format!("Bob{n}"), &format!("bob.{n}@example.org")).await;
    }
    let range = WordRange::new("ANN").expect("a query");
    let (mut after, mut seen) = ((range.from.clone(), UserId::from_uuid(Uuid::nil())), Vec::new());
    loop {
        let page = store.search(&range, (&after.0, after.1), 10).await.expect("found");
        seen.extend(page.iter().map(|user| user.id));
        let Some(last) = page.last() else { break };
        after = (store.word(last.id, &range, 0).await.expect("answered").expect("stands there"), last.id);
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    for (query, count) in [("ann7", 1), ("ann.7", 0), ("bob2", 6), ("lee", 0), ("ann7 ann", 1), ("_nn", 0), ("%", 0)] {
        let range = WordRange::new(query).expect("a query");
        let found = store.search(&range, (&range.from, UserId::from_uuid(Uuid::nil())), 100).await.expect("found");
        assert_eq!(found.len(), count, "{query}");
    }
}

/// Users who stand before a page with other words of theirs behind it.
async fn a_search_looks_at_so_many_words(test_store: &TestStore) {
    let store = test_store.open().await;
    for n in 0..200 {
        let name = format!("aa{n} ab ac ad ae af ag ah");
        registered(&store, &name, &format!("{n}@example.org")).await;
    }
    let (last, _) = registered(&store, "az", "last@example.org").await;
    let range = WordRange::new("a").expect("a query");
    let (mut after, mut pages) = (("ab".to_owned(), UserId::from_uuid(Uuid::nil())), 0);
    let found = loop {
        let found = store.search(&range, (&after.0, after.1), 10).await.expect("found");
        pages += 1;
        let Some((user, lower)) = store.search_end(&range, (&after.0, after.1)).await.expect("answered") else {
            break found;
        };
        assert!(found.is_empty(), "they stand before it");
        after = (store.word(user, &range, lower).await.expect("answered").expect("its word"), user);
    };
    assert_eq!((found.iter().map(|user| user.id).collect::<Vec<_>>(), pages), (vec![last.user.id], 2));
}

async fn profiles_change_in_parts(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, _) = registered(&store, "Ann Lee", "ann@example.org").await;
    let name = "Ann Smith".to_owned();
    let words = words(&name);
    let named = ProfileChange { full_name: Some((name.clone(), words)), designation: None };
    let designated = ProfileChange { full_name: None, designation: Some(String::new()) };
    let changes = [store.update_profile(ann.user.id, named), store.update_profile(ann.user.id, designated.clone())];
    assert!(join_all(changes).await.iter().all(Result::is_ok));
    let users = store.users(&[ann.user.id]).await.expect("answered");
    assert_eq!(users[0].profile, Profile { full_name: name, designation: String::new() });
    for (query, is_found) in [("smith", true), ("lee", false), ("ann@", false)] {
        let range = WordRange::new(query).expect("a query");
        let word = store.word(ann.user.id, &range, 0).await.expect("answered");
        assert_eq!(word.is_some(), is_found, "{query}");
    }
    let error = store.update_profile(UserId::new(NOW), designated).await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn a_changed_password_lets_no_session_begin(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, first) = registered(&store, "Ann", "ann@example.org").await;
    let second = session(ann.user.id);
    assert!(store.begin_session(second.clone(), &ann.password_hash).await.expect("answered"));
    let to = "$argon2id$two".to_owned();
    let change = PasswordChange { user_id: ann.user.id, from: ann.password_hash.clone(), to, keep: first.id };
    assert!(store.change_password(change.clone(), NOW).await.expect("answered"));
    assert!(!store.change_password(change, NOW).await.expect("answered"), "the hash is another now");
    assert!(!store.begin_session(session(ann.user.id), &ann.password_hash).await.expect("answered"));
    let live = store.sessions(ann.user.id, NOW, 100).await.expect("answered");
    assert_eq!(live.iter().map(|session| session.id).collect::<Vec<_>>(), [first.id]);
    let revoked = store.revocations(0, NOW, 100).await.expect("answered");
    assert_eq!(revoked.len(), 1);
    assert_eq!((revoked[0].session_id, revoked[0].except_session_id), (None, Some(first.id)));
}

async fn a_password_change_and_a_login_cannot_both_win(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let (ann, first) = registered(&one, "Ann", "ann@example.org").await;
    let mut from = ann.password_hash;
    for n in 0..20 {
        let to = format!("$argon2id${n}");
        let change = PasswordChange { user_id: ann.user.id, from: from.clone(), to: to.clone(), keep: first.id };
        let login = other.begin_session(session(ann.user.id), &from);
        let (changed, begun) = tokio::join!(one.change_password(change, NOW), login);
        assert!(changed.expect("answered"));
        begun.expect("answered");
        // Before the change it was ended by it, after it did not begin.
        assert_eq!(one.sessions(ann.user.id, NOW, 100).await.expect("answered").len(), 1);
        from = to;
    }
}

async fn one_of_ten_rotations_wins(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let (ann, session) = registered(&one, "Ann", "ann@example.org").await;
    for generation in 0..5 {
        let rotations = (0..10).map(|n| {
            let store = if n % 2 == 0 { one.clone() } else { other.clone() };
            let rotation = rotation(session.id, generation, NOW);
            tokio::spawn(async move { store.rotate(rotation).await })
        });
        let results: Vec<_> = join_all(rotations).await.into_iter().map(|result| result.expect("no panic")).collect();
        let won = results.into_iter().filter(|result| *result.as_ref().expect("losing is no error")).count();
        assert_eq!(won, 1);
    }
    let state = one.refresh_state(session.id, 4).await.expect("answered").expect("known");
    assert_eq!((state.user_id, state.generation, state.token_digest), (ann.user.id, 5, digest(5)));
    assert_eq!((state.used_at, state.expires_at, state.is_ended), (Some(NOW), NOW.plus(MONTH), false));
    assert!(one.refresh_state(SessionId::new(NOW), 0).await.expect("answered").is_none());
}

async fn uses_are_forgotten_after_the_grace(test_store: &TestStore) {
    let store = test_store.open().await;
    let (_, session) = registered(&store, "Ann", "ann@example.org").await;
    for generation in 0..3 {
        let used_at = NOW.plus(Duration::from_secs(8) * generation.into());
        assert!(store.rotate(rotation(session.id, generation, used_at)).await.expect("answered"));
    }
    let mut used = Vec::new();
    for generation in 0..4 {
        used.push(store.refresh_state(session.id, generation).await.expect("answered").expect("known").used_at);
    }
    let at = |seconds| Some(NOW.plus(Duration::from_secs(seconds)));
    assert_eq!(used, [None, at(8), at(16), None]);
}

async fn a_session_is_ended_once_and_by_its_user(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, session) = registered(&store, "Ann", "ann@example.org").await;
    let (bob, _) = registered(&store, "Bob", "bob@example.org").await;
    assert!(!store.end_session(bob.user.id, session.id, NOW).await.expect("answered"));
    assert!(store.end_session(ann.user.id, session.id, NOW).await.expect("answered"));
    assert!(!store.end_session(ann.user.id, session.id, NOW).await.expect("answered"));
    assert!(!store.rotate(rotation(session.id, 0, NOW)).await.expect("answered"));
    assert!(store.refresh_state(session.id, 0).await.expect("answered").expect("known").is_ended);
    assert!(store.sessions(ann.user.id, NOW, 100).await.expect("answered").is_empty());
    let revoked = store.revocations(0, NOW, 100).await.expect("answered");
    let expected = Revocation {
        number: store.revocation_head().await.expect("answered"),
        user_id: ann.user.id,
        session_id: Some(session.id),
        except_session_id: None,
        revoked_at: NOW,
        until: Revocation::own_until(NOW),
    };
    assert_eq!(revoked, [expected]);
}

/// Whatever is read up to a head is complete: nothing ever appears below it.
async fn revocations_come_in_the_order_of_their_numbers(test_store: &TestStore) {
    let (one, other) = tokio::join!(test_store.open(), test_store.open());
    let mut sessions = Vec::new();
    for n in 0..40 {
        let (account, session) = registered(&one, "Ann", &format!("ann{n}@example.org")).await;
        sessions.push((account.user.id, session.id));
    }
    let ends = sessions.clone().into_iter().enumerate().map(|(n, (user_id, id))| {
        let store = if n % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move { store.end_session(user_id, id, NOW).await.expect("answered") })
    });
    let ends = join_all(ends.collect::<Vec<_>>());
    let follower = async {
        let (mut after, mut seen) = (0, Vec::new());
        while seen.len() < sessions.len() {
            let head = one.revocation_head().await.expect("answered");
            let page = one.revocations(after, NOW, 1_000).await.expect("answered");
            seen.extend(page.into_iter().filter(|revocation| revocation.number <= head));
            after = head;
        }
        seen
    };
    let (ended, seen) = tokio::join!(ends, tokio::time::timeout(Duration::from_secs(20), follower));
    assert!(ended.into_iter().all(|ended| ended.is_ok_and(|ended| ended)));
    let seen = seen.expect("nothing appeared below a head that was read");
    assert!(seen.is_sorted_by_key(|revocation| revocation.number));
    let ids: BTreeSet<_> = seen.iter().filter_map(|revocation| revocation.session_id).collect();
    assert_eq!(ids, sessions.iter().map(|(_, id)| *id).collect());
}

async fn a_revocation_of_all_is_later_than_every_token(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, session) = registered(&store, "Ann", "ann@example.org").await;
    // Another process's clock is ahead.
    let ahead = NOW.plus(Duration::from_secs(3));
    assert!(store.rotate(rotation(session.id, 0, ahead)).await.expect("answered"));
    store.end_sessions(ann.user.id, NOW).await.expect("ended");
    let revoked = store.revocations(0, NOW, 100).await.expect("answered");
    assert_eq!(revoked.len(), 1);
    assert!(revoked[0].revoked_at > ahead && revoked[0].session_id.is_none());
    store.end_sessions(ann.user.id, NOW).await.expect("nothing to end");
    assert_eq!(store.revocations(0, NOW, 100).await.expect("answered").len(), 1);
}

/// So many sessions more.
async fn begin(store: &Store, account: &Account, count: usize) {
    for _ in 0..count {
        let begun = store.begin_session(session(account.user.id), &account.password_hash).await;
        assert!(begun.expect("answered"));
    }
}

async fn more_than_one_purge_removes_leaves_in_one_go(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, _) = registered(&store, "Ann", "ann@example.org").await;
    begin(&store, &ann, 1_500).await;
    let clock = Arc::new(ManualClock::new(NOW.plus(MONTH).plus(Duration::from_secs(1))));
    let (auth, shutdown) =
        (build(&TokenConfig::default(), store.clone(), clock).await.expect("built"), Shutdown::new());
    auth.start(&shutdown);
    let gone = async {
        while !store.sessions(ann.user.id, NOW, 1).await.expect("answered").is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    // A purge begins each minute.
    timeout(Duration::from_secs(30), gone).await.expect("gone before the next one");
    shutdown.token.cancel();
}

async fn what_is_over_is_purged(test_store: &TestStore) {
    let store = test_store.open().await;
    let (ann, session) = registered(&store, "Ann", "ann@example.org").await;
    assert!(store.rotate(rotation(session.id, 0, NOW)).await.expect("answered"));
    assert!(store.end_session(ann.user.id, session.id, NOW).await.expect("answered"));
    assert!(!store.purge(NOW).await.expect("purged"));
    assert!(store.refresh_state(session.id, 0).await.expect("answered").is_some());
    assert_eq!(store.revocations(0, NOW, 100).await.expect("answered").len(), 1);
    let later = NOW.plus(MONTH).plus(Duration::from_secs(1));
    assert!(!store.purge(later).await.expect("purged"), "there was one");
    assert!(store.refresh_state(session.id, 0).await.expect("answered").is_none());
    assert!(store.revocations(0, Timestamp::from_micros(0), 100).await.expect("answered").is_empty());
    assert!(store.revocation_head().await.expect("answered") > 0, "numbers do not begin anew");
    begin(&store, &ann, 1_000).await;
    assert!(store.purge(later).await.expect("purged"), "as many as it may: there may be more");
    assert!(!store.purge(later).await.expect("purged"));
}
