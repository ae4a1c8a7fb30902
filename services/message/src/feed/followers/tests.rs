use bytes::Bytes;
use futures_util::FutureExt as _;
use messenger_core::{Content, ConversationType, MessageId, Timestamp};
use messenger_proto::event::v1::{
    ConversationChanged, Participant, ParticipantRemoved, ParticipantsAdded, Role, conversation_changed::Change,
};
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use super::*;
use crate::feed::queue::FOLLOWER_BYTES_MAX;
use crate::model::Message;

const FOLLOWER: FollowerId = 1;

fn user(n: u8) -> UserId {
    UserId::from_uuid(Uuid::from_u128(u128::from(n) + 1))
}

fn conversation(n: u8) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(u128::from(n) + 1_000))
}

/// What may happen in a conversation.
#[derive(Debug, Clone, Copy)]
enum Event {
    Sent,
    Joined(u8),
    Left(u8),
}

fn entry(position: i64, at: u8, event: Event) -> Entry {
    let conversation_id = conversation(at);
    let changed = |change| {
        let changed = ConversationChanged { conversation: None, change: Some(change) };
        Fact::ConversationChanged(Bytes::from(changed.encode_to_vec()))
    };
    let fact = match event {
        Event::Sent => Fact::MessageSent {
            message: Message {
                id: MessageId::from_uuid(Uuid::nil()),
                conversation_id,
                seq: 1,
                sender_id: user(0),
                content: Content::new("x").expect("valid"),
                created_at: Timestamp::default(),
                client_message_id: None,
                reply_to_id: None,
                metadata: None,
            },
            conversation_type: ConversationType::Group,
            origin: 0,
        },
        Event::Joined(who) => {
            let user_id = user(who).to_string();
            let participant = Participant { user_id, role: Role::Member.into(), ..Participant::default() };
            changed(Change::ParticipantsAdded(ParticipantsAdded { participants: vec![participant] }))
        }
        Event::Left(who) => {
            let user_id = user(who).to_string();
            changed(Change::ParticipantRemoved(ParticipantRemoved { user_id, removed_by: String::new() }))
        }
    };
    Entry { position: Position(position), conversation_id, fact }
}

/// One follower and what it heard.
struct Heard {
    followers: Followers,
    queue: Arc<Queue>,
    position: Position,
}

impl Heard {
    fn new(position: i64) -> Self {
        let (mut followers, queue) = (Followers::default(), Arc::new(Queue::new(FOLLOWER_BYTES_MAX)));
        followers.open(FOLLOWER, Arc::clone(&queue), Position(position));
        Self { followers, queue, position: Position(position) }
    }

    fn apply(&mut self, entries: Vec<Entry>, last: i64) {
        self.followers.apply(&entries.into_iter().collect(), self.position, Position(last));
        self.position = Position(last);
    }

    fn complete(&mut self, ticket: Ticket, at: i64, memberships: Vec<(UserId, ConversationId)>) {
        let snapshot = Followed { position: Position(at), memberships };
        self.followers.complete(ticket, snapshot, self.position);
    }

    fn events(&self) -> Vec<FeedEvent> {
        std::iter::from_fn(|| self.queue.next().now_or_never()?)
            .map(|event| event.expect("not ended"))
            .filter(|event| !matches!(event, FeedEvent::Welcome(_)))
            .collect()
    }
}

fn positions(events: &[FeedEvent]) -> Vec<i64> {
    let entries = events.iter().filter_map(|event| match event {
        FeedEvent::Entries(chosen) => Some(chosen.entries.iter().map(|entry| entry.position.0).collect::<Vec<_>>()),
        _ => None,
    });
    entries.flatten().collect()
}

fn followed_at(events: &[FeedEvent]) -> Vec<i64> {
    let followed = events.iter().filter_map(|event| match event {
        FeedEvent::UserFollowed { position, .. } => Some(position.0),
        _ => None,
    });
    followed.collect()
}

#[test]
fn a_snapshot_ahead_of_the_feed_waits_for_it() {
    let mut heard = Heard::new(10);
    let ticket = heard.followers.begin(FOLLOWER, &[user(1)]).expect("it is there");
    heard.complete(ticket, 12, vec![(user(1), conversation(1))]);
    assert!(heard.events().is_empty());
    heard.apply((11..=14).map(|position| entry(position, 1, Event::Sent)).collect(), 14);
    let events = heard.events();
    assert_eq!((followed_at(&events), positions(&events)), (vec![12], vec![13, 14]));
    assert!(matches!(events[0], FeedEvent::UserFollowed { .. }), "the answer comes before what follows it");
}

#[test]
fn a_snapshot_behind_the_feed_is_brought_up_to_it() {
    let mut heard = Heard::new(10);
    let ticket = heard.followers.begin(FOLLOWER, &[user(1)]).expect("it is there");
    heard.apply(vec![entry(11, 1, Event::Left(1)), entry(12, 2, Event::Joined(1))], 12);
    heard.complete(ticket, 10, vec![(user(1), conversation(1))]);
    heard.apply(vec![entry(13, 1, Event::Sent), entry(14, 2, Event::Sent)], 14);
    let events = heard.events();
    assert_eq!((followed_at(&events), positions(&events)), (vec![12], vec![14]));
}

#[test]
fn nobody_is_kept_who_is_gone() {
    let mut heard = Heard::new(0);
    let ticket = heard.followers.begin(FOLLOWER, &[user(1), user(2)]).expect("it is there");
    heard.followers.begin(FOLLOWER, &[user(3)]).expect("it is there");
    heard.complete(ticket, 0, vec![(user(1), conversation(1)), (user(2), conversation(1))]);
    heard.queue.close();
    heard.followers.heartbeat(Position(0));
    let Followers { followers, interest, users, additions, .. } = &heard.followers;
    assert!(followers.is_empty() && interest.is_empty() && users.is_empty() && additions.is_empty());
}

#[test]
fn an_entry_is_encoded_once_and_kept_by_those_it_concerns() {
    const OTHER: FollowerId = 2;
    let (mut heard, other) = (Heard::new(0), Arc::new(Queue::new(FOLLOWER_BYTES_MAX)));
    heard.followers.open(OTHER, Arc::clone(&other), Position(0));
    for follower in [FOLLOWER, OTHER] {
        let ticket = heard.followers.begin(follower, &[user(1)]).expect("it is there");
        heard.complete(ticket, 0, vec![(user(1), conversation(1))]);
    }
    let batch: EntryBatch = [entry(1, 1, Event::Sent), entry(2, 2, Event::Sent)].into_iter().collect();
    let entries: Vec<_> = batch.0.iter().map(Arc::downgrade).collect();
    heard.followers.apply(&batch, Position(0), Position(2));
    drop(batch);
    let encoded = [&heard.queue, &other].map(|queue| {
        let events = std::iter::from_fn(|| queue.next().now_or_never()?).map(|event| event.expect("not ended"));
        let chosen =
            events.filter_map(|event| if let FeedEvent::Entries(chosen) = event { Some(chosen) } else { None });
        chosen.flat_map(|chosen| chosen.entries).map(|entry| (entry.encoded(), entry)).collect::<Vec<_>>()
    });
    let [[(one, _)], [(same, _)]] = encoded.each_ref().map(Vec::as_slice) else { panic!("one entry for each") };
    assert_eq!(one.as_ptr(), same.as_ptr());
    assert!(entries[0].upgrade().is_some() && entries[1].upgrade().is_none(), "what concerns nobody is gone");
}

/// What happens, where the snapshot is read, when its answer arrives, and how the journal is cut into commits.
type Course = (Vec<(u8, Event)>, prop::sample::Index, prop::sample::Index, Vec<bool>);

fn courses() -> impl Strategy<Value = Course> {
    let event = prop_oneof![Just(Event::Sent), (0..3u8).prop_map(Event::Joined), (0..3u8).prop_map(Event::Left)];
    let events = prop::collection::vec((0..3u8, event), 1..40);
    (events, any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(any::<bool>(), 40))
}

proptest! {
    /// Whenever the snapshot is read and answered: what is heard after it is what the memberships say.
    #[test]
    fn what_is_followed_is_what_one_takes_part_in((events, read_at, answered_at, cuts) in courses()) {
        let who = user(1);
        let read_at = read_at.index(events.len() + 1);
        let answered_at = answered_at.index(events.len() + 1);
        let mut heard = Heard::new(0);
        let ticket = heard.followers.begin(FOLLOWER, &[who]).expect("it is there");
        let mut taking_part = IdSet::default();
        let mut snapshot = None;
        let mut concerned = Vec::new();
        let mut commit = Vec::new();
        let mut is_answered = false;
        for (n, (at, event)) in events.iter().enumerate() {
            if n == read_at {
                snapshot = Some(taking_part.clone());
            }
            if n >= answered_at && n >= read_at && !is_answered {
                is_answered = true;
                let memberships = snapshot.iter().flatten().map(|id| (who, *id)).collect();
                heard.complete(ticket, read_at as i64, memberships);
            }
            if matches!(event, Event::Joined(1)) {
                taking_part.insert(conversation(*at));
            }
            if taking_part.contains(&conversation(*at)) {
                concerned.push(n as i64 + 1);
            }
            if matches!(event, Event::Left(1)) {
                taking_part.remove(&conversation(*at));
            }
            commit.push(entry(n as i64 + 1, *at, *event));
            if cuts[n] {
                heard.apply(std::mem::take(&mut commit), n as i64 + 1);
            }
        }
        heard.apply(commit, events.len() as i64);
        if !is_answered {
            let memberships = snapshot.unwrap_or(taking_part).into_iter().map(|id| (who, id)).collect();
            heard.complete(ticket, read_at as i64, memberships);
        }
        let told = heard.events();
        let [followed] = followed_at(&told)[..] else { panic!("one answer") };
        prop_assert!(followed >= read_at as i64);
        let expected: Vec<_> = concerned.into_iter().filter(|position| *position > followed).collect();
        prop_assert_eq!(positions(&told), expected);
    }
}
