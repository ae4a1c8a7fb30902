//! Several processes append to one journal: rights, numbers and times hold between them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use messenger_core::{ErrorKind, Role, Timestamp, UserId};
use messenger_db::Location;
use messenger_message::{
    model::{Batch, ChangeSet, Effect, Fact, ResolvedDraft},
    policy::may_post,
    store::Store,
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    faults::HOLD,
    support::{Talk, append, at, but, group, journal, open, postgres, resent, seqs, users},
};

/// One writer sends for an admin, a member and one who comes and goes, without a pause; the other one changes their
/// rights. Then the journal is read in order: every message must have been allowed where it stands.
pub async fn rights_hold_between_two_writers(location: Location) {
    let (sender, changer) = (open(&location).await, open(&location).await);
    let [owner, admin, guest] = users();
    let mut talk = Talk::group();
    let mut sets = vec![talk.create(&[owner, admin, guest])];
    append(&changer, sets.clone(), vec![]).await;

    let outcomes = Arc::new(Outcomes::default());
    let sending = {
        let (outcomes, talk) = (outcomes.clone(), talk.clone());
        tokio::spawn(async move {
            while !outcomes.are_enough() {
                let drafts = [owner, admin, guest, admin].map(|user| talk.draft(user, "said")).to_vec();
                let appended = append(&sender, vec![], drafts).await;
                let stored = appended.drafts.iter().filter(|outcome| outcome.is_ok()).count();
                outcomes.stored.fetch_add(stored, Relaxed);
                outcomes.refused.fetch_add(appended.drafts.len() - stored, Relaxed);
            }
        })
    };
    for round in 0.. {
        if outcomes.are_enough() {
            break;
        }
        let set = match round % 6 {
            0 => talk.leave(guest),
            1 => talk.role(admin, Role::Member),
            2 => talk.restrict(true),
            3 => talk.join(guest),
            4 => talk.role(admin, Role::Admin),
            _ => talk.restrict(false),
        };
        append(&changer, vec![set.clone()], vec![]).await;
        sets.push(set);
    }
    sending.await.expect("sends");
    let stored = outcomes.stored.load(Relaxed) as i64;
    assert_eq!(check_rights(&changer, &sets).await, stored);
}

#[derive(Default)]
struct Outcomes {
    stored: AtomicUsize,
    refused: AtomicUsize,
}

impl Outcomes {
    /// Both kinds often enough for the writers to have met in every way.
    fn are_enough(&self) -> bool {
        self.stored.load(Relaxed) > 150 && self.refused.load(Relaxed) > 150
    }
}

/// Counts the messages, each of them allowed by the changes before it.
async fn check_rights(store: &Arc<dyn Store>, sets: &[ChangeSet]) -> i64 {
    let changes: HashMap<_, _> = sets.iter().flat_map(|set| &set.0).map(|change| (&change.body, change)).collect();
    let mut roles: HashMap<UserId, Role> = HashMap::new();
    let (mut is_restricted, mut messages) = (false, 0);
    for entry in journal(store).await {
        match entry.fact {
            Fact::ConversationChanged(body) => {
                let change = changes[&body];
                is_restricted = change.is_restricted;
                match &change.effect {
                    Effect::None => {}
                    Effect::Join(users) => roles.extend(users.iter().copied()),
                    Effect::Role(user, role) => _ = roles.insert(*user, *role),
                    Effect::Leave(user) => _ = roles.remove(user),
                }
            }
            Fact::MessageSent { message, .. } => {
                let role = roles.get(&message.sender_id).expect("the sender takes part at this position");
                assert!(may_post(*role, is_restricted), "position {} is against the rights", entry.position);
                messages += 1;
                assert_eq!(message.seq, messages);
            }
        }
    }
    messages
}

/// Both send to the same conversations, repeat each other's keys, and have clocks that jump.
pub async fn numbers_hold_between_two_writers(location: Location) {
    let stores = [open(&location).await, open(&location).await];
    let [ann, bob] = users();
    let talks = [group(&stores[0], &[ann, bob]).await, group(&stores[0], &[ann, bob]).await];
    let writing = stores.clone().into_iter().enumerate().map(|(writer, store)| {
        let talks = talks.clone();
        tokio::spawn(async move {
            let mut spans = Vec::new();
            for round in 0..40_usize {
                let draft = |n: usize| talks[n % 2].keyed(ann, "shared", &format!("{round}-{n}"));
                let mut drafts: Vec<ResolvedDraft> = (0..4).map(draft).collect();
                drafts.push(talks[round % 2].draft(bob, "own"));
                let now = at(((round * 7_919 + writer * 104_729) % 1_000) as i64);
                let appended = store.append(Batch { changes: vec![], drafts }, now).await.expect("committed");
                assert!(appended.drafts.iter().all(Result::is_ok));
                spans.push((appended.previous, appended.last));
            }
            spans
        })
    });
    let mut spans = Vec::new();
    for task in writing.collect::<Vec<_>>() {
        spans.extend(task.await.expect("writes"));
    }
    spans.sort();
    assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "each commit has a stretch of the journal to itself");

    let mut last: HashMap<_, i64> = HashMap::new();
    let mut time = Timestamp::from_micros(i64::MIN);
    let mut messages = 0;
    for entry in journal(&stores[1]).await {
        let Fact::MessageSent { message, .. } = entry.fact else { continue };
        let seq = last.entry(message.conversation_id).or_default();
        assert_eq!(message.seq, *seq + 1);
        assert!(message.created_at >= time);
        (*seq, time, messages) = (message.seq, message.created_at, messages + 1);
    }
    assert_eq!(messages, 40 * 4 + 2 * 40);
}

/// One process stands still with drafts that nobody will answer; they are sent to another one and refused there. When
/// the first goes on, the rights have come back.
pub async fn a_refused_draft_stays_refused_wherever_it_comes_late(location: Location) {
    let (frozen, other) = (open(&location).await, open(&location).await);
    let [ann, bob, eve] = users();
    let mut talk = group(&other, &[ann, bob]).await;
    let elsewhere = group(&other, &[eve]).await;
    let question = elsewhere.draft(eve, "?");
    let answer = but(elsewhere.draft(eve, "early"), |draft| draft.reply_to_id = Some(question.draft.message_id));
    let held = vec![talk.keyed(bob, "while restricted", "k"), talk.draft(eve, "not yet here"), answer];

    append(&other, vec![talk.restrict(true)], vec![]).await;
    let mut again: Vec<_> = held.iter().cloned().map(resent).collect();
    // Beside drafts that are stored, and without them.
    let last = again.pop().expect("three");
    let refused = [Err(ErrorKind::Forbidden), Err(ErrorKind::NotFound), Err(ErrorKind::ValidationFailed)];
    assert_eq!(seqs(&append(&other, vec![], again).await.drafts), refused[..2]);
    let beside = append(&other, vec![], vec![talk.draft(ann, "beside"), last]).await;
    assert_eq!(seqs(&beside.drafts), [Ok(1), refused[2]]);
    append(&other, vec![talk.restrict(false), talk.join(eve)], vec![question]).await;

    let mut late = held.clone();
    late.push(talk.draft(bob, "new"));
    let again: Vec<_> = held.into_iter().map(resent).collect();
    assert_eq!(seqs(&append(&frozen, vec![], late).await.drafts), [&refused[..], &[Ok(2)]].concat());
    assert_eq!(seqs(&append(&frozen, vec![], again).await.drafts), refused);
    // The sender decides to try once more: that is another draft, under the same key.
    let retry = talk.keyed(bob, "while restricted", "k");
    assert_eq!(seqs(&append(&frozen, vec![], vec![retry]).await.drafts), [Ok(3)]);
}

/// Also in the process that refused it, and within one batch.
pub async fn a_refused_draft_stays_refused_where_it_was(location: Location) {
    let store = open(&location).await;
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    for _ in 0..3 {
        append(&store, vec![], vec![talk.draft(ann, "alone")]).await;
    }
    let refused = Err(ErrorKind::ValidationFailed);
    for (drafts_of_a_batch, seq) in [(1, 4), (3, 5)] {
        let question = talk.draft(ann, "?");
        let answer = but(talk.draft(ann, "early"), |draft| draft.reply_to_id = Some(question.draft.message_id));
        let mut outcomes = Vec::new();
        for batch in [resent(answer.clone()), question, answer].chunks(drafts_of_a_batch) {
            outcomes.extend(append(&store, vec![], batch.to_vec()).await.drafts);
        }
        assert_eq!(seqs(&outcomes), [refused, Ok(seq), refused]);
    }
}

/// What a session that is not in use ran last: the end of a transaction, or the one statement that is a whole one.
pub async fn who_writes_alone_needs_no_transaction_block(location: Location) {
    const LAST: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1";
    let (store, other) = (open(&location).await, open(&location).await);
    let [ann] = users();
    let talk = group(&store, &[ann]).await;
    let mut watcher = postgres(&location).await;
    let mut sessions =
        async |query| sqlx::query_scalar::<_, i64>(LAST).bind(query).fetch_one(&mut watcher).await.expect("reads");
    append(&store, vec![], vec![talk.draft(ann, "the second batch")]).await;
    assert_eq!(sessions("COMMIT").await, 1);
    append(&store, vec![], vec![talk.draft(ann, "alone")]).await;
    assert_eq!((sessions("COMMIT").await, sessions("%WITH ended%").await), (0, 1));
    append(&other, vec![], vec![talk.draft(ann, "elsewhere")]).await;
    append(&store, vec![], vec![talk.draft(ann, "not alone")]).await;
    assert_eq!((sessions("COMMIT").await, sessions("%WITH ended%").await), (2, 0));
}

pub async fn refusals_are_kept_for_an_hour(location: Location) {
    const HOUR: i64 = 3_600_000_000;
    let store = open(&location).await;
    let [ann, bob] = users();
    let mut talk = group(&store, &[ann]).await;
    let append_at = |changes, drafts, now| {
        let store = store.clone();
        async move { store.append(Batch { changes, drafts }, at(now)).await.expect("committed").drafts }
    };
    let drafts = [1, HOUR].map(|asked| (talk.draft(bob, "a"), asked));
    for (draft, asked) in drafts.clone() {
        append_at(vec![], vec![resent(draft)], 2_000 + asked).await;
    }
    let [early, late] = drafts.map(|(draft, _)| draft);
    let not_found = Err(ErrorKind::NotFound);
    let join = talk.join(bob);
    assert_eq!(seqs(&append_at(vec![join], vec![early.clone(), late.clone()], 2_000 + HOUR).await), [not_found; 2]);
    // The next refusal takes the old ones away, and the last ones are not looked for any longer.
    let stranger = resent(talk.draft(users::<1>()[0], "b"));
    append_at(vec![], vec![stranger], 2_002 + HOUR).await;
    assert_eq!(seqs(&append_at(vec![], vec![early, late.clone()], 2_002 + HOUR).await), [Ok(1), not_found]);
    assert_eq!(seqs(&append_at(vec![], vec![late], 2_003 + 2 * HOUR).await), [Ok(2)]);
}

/// The order of the statements, without chance: a removal has the lock and waits for the member's row, a message of that
/// member waits for the lock; its facts must be those of after the removal. So too when its writer, which was alone before,
/// has read them without the lock.
pub async fn a_waiting_append_sees_what_it_waited_for(location: Location) {
    for sent_alone in [1, 3] {
        wait_for_a_removal(&location, sent_alone).await;
    }
}

async fn wait_for_a_removal(location: &Location, sent_alone: i64) {
    let (first, second) = (open(location).await, open(location).await);
    let [ann, bob] = users();
    let mut talk = group(&first, &[ann, bob]).await;
    // Both have their connection and plans already.
    append(&first, vec![], vec![talk.draft(bob, "a")]).await;
    for _ in 0..sent_alone {
        append(&second, vec![], vec![talk.draft(bob, "b")]).await;
    }

    let mut holder = postgres(location).await;
    let mut watcher = postgres(location).await;
    let mut row = holder.begin().await.expect("begins");
    sqlx::query(HOLD).bind(bob.uuid()).execute(&mut *row).await.expect("held");
    let removal = talk.leave(bob);
    let removing = tokio::spawn(async move { append(&first, vec![removal], vec![]).await });
    until_waiting(&mut watcher, 1).await;
    let drafts = vec![talk.draft(bob, "too late"), talk.draft(ann, "still here")];
    let sending = tokio::spawn(async move { append(&second, vec![], drafts).await });
    until_waiting(&mut watcher, 2).await;
    row.rollback().await.expect("released");

    let removed = removing.await.expect("appends");
    let sent = sending.await.expect("appends");
    assert_eq!(sent.previous, removed.last, "the removal came first");
    assert_eq!(seqs(&sent.drafts), [Err(ErrorKind::NotFound), Ok(sent_alone + 2)]);
}

async fn until_waiting(watcher: &mut PgConnection, sessions: i64) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *watcher).await.expect("reads") < sessions {
        tokio::task::yield_now().await;
    }
}
