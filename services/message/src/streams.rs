//! The streams of the server: events and answers as they come, in pieces a client can decode.

use std::{collections::VecDeque, pin::Pin, vec};

use futures_util::{Stream, future::BoxFuture, stream};
use messenger_core::{Error, JournalId, Position, Result, UserId};
use messenger_proto::{
    event::v1::Signal,
    message::v1::{
        CaughtUp, DraftOutcome, Entries, FollowRequest, FollowResponse, Heartbeat, SendMessagesRequest,
        SendMessagesResponse, SubscribeResponse, SubscribedEntry, TaggedDraft, UserFollowed, Welcome,
        draft_outcome::Outcome, follow_request::Command, follow_response::Event, subscribe_response::Event as Heard,
    },
};
use messenger_rpc::{to_rpc_status, to_status};
use prost::Message as _;
use tonic::{Status, Streaming};

use crate::{
    convert,
    feed::{Asks, Chosen, Events, Feed, FeedEvent},
    journal::{DRAFTS_PER_BATCH_MAX, TaggedOutcomes},
    model,
    pieces::{entry_bytes, message_bytes, pieces},
    pipe::{Drafts, Inbound, Outcomes},
    replay::{Subscribed, Subscription},
};

/// What a streaming call answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The drafts of a pipe, at most a batch at a time.
pub(crate) struct InboundDrafts {
    requests: Streaming<SendMessagesRequest>,
    rest: vec::IntoIter<TaggedDraft>,
}

impl InboundDrafts {
    pub(crate) fn new(requests: Streaming<SendMessagesRequest>) -> Self {
        Self { requests, rest: Vec::new().into_iter() }
    }
}

impl Inbound for InboundDrafts {
    async fn next(&mut self) -> Option<Drafts> {
        while self.rest.len() == 0 {
            // An error means that the caller is gone: it sends what was not answered again.
            self.rest = self.requests.message().await.ok()??.drafts.into_iter();
        }
        Some(self.rest.by_ref().take(DRAFTS_PER_BATCH_MAX).map(|tagged| convert::tagged(&tagged)).collect())
    }
}

/// The answers of a pipe.
pub(crate) fn outcomes(outcomes: Outcomes) -> Answers<SendMessagesResponse> {
    Box::pin(stream::unfold((outcomes, VecDeque::new()), next_outcomes))
}

type Pieces<S, T> = (S, VecDeque<T>);
type Answer<S, T> = Option<(Result<T, Status>, Pieces<S, T>)>;

async fn next_outcomes(
    (mut outcomes, mut ready): Pieces<Outcomes, SendMessagesResponse>,
) -> Answer<Outcomes, SendMessagesResponse> {
    while ready.is_empty() {
        ready = pieces_of_outcomes(&outcomes.next().await?);
    }
    Some((Ok(ready.pop_front()?), (outcomes, ready)))
}

fn pieces_of_outcomes(outcomes: &TaggedOutcomes) -> VecDeque<SendMessagesResponse> {
    let bytes = |(_, outcome): &(u64, model::DraftOutcome)| outcome.as_ref().map_or(0, |ok| message_bytes(&ok.message));
    pieces(outcomes, bytes, |piece| SendMessagesResponse { outcomes: piece.iter().map(outcome).collect() })
}

fn outcome((tag, outcome): &(u64, model::DraftOutcome)) -> DraftOutcome {
    let outcome = match outcome {
        Ok(stored) => Outcome::Stored(convert::stored(stored)),
        Err(error) => Outcome::Error(to_rpc_status(error)),
    };
    DraftOutcome { tag: *tag, outcome: Some(outcome) }
}

/// Whom a gateway asks for, until it or its follower is gone.
pub(crate) async fn follow_asked(mut requests: Streaming<FollowRequest>, asks: Asks) {
    loop {
        let request = tokio::select! {
            () = asks.ended() => return,
            request = requests.message() => request,
        };
        // At its end the gateway asks for nobody else, but goes on to listen.
        let Ok(Some(request)) = request else { return };
        if let Err(error) = ask(&asks, request).await {
            return asks.end(error);
        }
    }
}

/// Asks what a gateway asks for.
///
/// # Errors
/// VALIDATION_FAILED when a user is named by something else than a UUID; UNAVAILABLE when the feed has ended.
pub async fn ask(asks: &Asks, request: FollowRequest) -> Result<()> {
    match request.command {
        Some(Command::Add(users)) => asks.add(&user_ids(&users.user_ids)?).await,
        Some(Command::Remove(users)) => asks.remove(user_ids(&users.user_ids)?).await,
        None => Ok(()),
    }
}

fn user_ids(texts: &[String]) -> Result<Vec<UserId>> {
    texts.iter().map(|text| UserId::parse("userIds", text)).collect()
}

/// What a gateway hears.
#[must_use]
pub fn followed(events: Events, journal: JournalId) -> Answers<FollowResponse> {
    let next = move |state| next_followed(state, journal);
    Box::pin(stream::unfold((events, VecDeque::new()), next))
}

async fn next_followed(
    (events, mut ready): Pieces<Events, FollowResponse>,
    journal: JournalId,
) -> Answer<Events, FollowResponse> {
    while ready.is_empty() {
        match events.next().await? {
            Ok(event) => ready = pieces_of_event(event, journal),
            Err(error) => return Some((Err(to_status(error)), (events, ready))),
        }
    }
    Some((Ok(ready.pop_front()?), (events, ready)))
}

fn pieces_of_event(event: FeedEvent, journal: JournalId) -> VecDeque<FollowResponse> {
    let event = match event {
        FeedEvent::Entries(chosen) => return pieces_of_entries(&chosen),
        FeedEvent::Welcome(position) => {
            Some(Event::Welcome(Welcome { journal_id: journal.0.to_string(), position: position.0 }))
        }
        FeedEvent::UserFollowed { user, position, conversations } => Some(Event::UserFollowed(UserFollowed {
            user_id: user.to_string(),
            position: position.0,
            conversation_ids: conversations.iter().map(ToString::to_string).collect(),
        })),
        FeedEvent::Signal(encoded) => Signal::decode(encoded).ok().map(Event::Signal),
        FeedEvent::Heartbeat(position) => Some(Event::Heartbeat(Heartbeat { position: position.0 })),
    };
    event.map(|event| FollowResponse { event: Some(event) }).into_iter().collect()
}

fn pieces_of_entries(chosen: &Chosen) -> VecDeque<FollowResponse> {
    let last = chosen.entries.last().map_or(Position::default(), |entry| entry.position);
    pieces(
        &chosen.entries,
        |entry| entry_bytes(entry),
        |piece| {
            let sent = piece.last().map_or(last, |entry| entry.position);
            let position = if sent == last { chosen.position } else { sent };
            let entries = piece.iter().map(|entry| entry.encoded()).collect();
            FollowResponse { event: Some(Event::Entries(Entries { entries, position: position.0 })) }
        },
    )
}

/// What a subscriber hears, until its token has ended.
pub(crate) fn subscribed(
    subscription: Subscription,
    feed: Feed,
    ended: BoxFuture<'static, Error>,
) -> Answers<SubscribeResponse> {
    Box::pin(stream::unfold(Some((subscription, feed, ended)), async |state| {
        let (mut subscription, feed, mut ended) = state?;
        let heard = tokio::select! {
            biased;
            error = &mut ended => return Some((Err(to_status(error)), None)),
            heard = subscription.next() => heard?,
        };
        let answer = heard.map_err(to_status).and_then(|heard| heard_as_answer(heard, &feed));
        Some((answer, Some((subscription, feed, ended))))
    }))
}

fn heard_as_answer(heard: Subscribed, feed: &Feed) -> Result<SubscribeResponse, Status> {
    let event = match heard {
        Subscribed::Entry(entry) => Heard::Entry(SubscribedEntry {
            cursor: feed.cursor(entry.position).encode(),
            entry: Some(convert::entry(&entry)),
        }),
        Subscribed::CaughtUp(position) => Heard::CaughtUp(CaughtUp { cursor: feed.cursor(position).encode() }),
        Subscribed::Signal(encoded) => {
            Heard::Signal(Signal::decode(encoded).map_err(|error| to_status(Error::internal(error)))?)
        }
    };
    Ok(SubscribeResponse { event: Some(event) })
}
