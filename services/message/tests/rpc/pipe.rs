//! SendMessages: batches of drafts in, answers out.

use std::collections::HashMap;

use messenger_core::{ErrorKind, UserId};
use messenger_proto::message::v1::{
    ListMessagesRequest, SendMessagesRequest, SendMessagesResponse, TaggedDraft, draft::Target, draft_outcome::Outcome,
};
use messenger_rpc::{from_rpc_status, request_as};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::{Client, Group, PATIENCE, World, new_id, tagged};

/// One end of a pipe.
pub struct Pipe {
    pub requests: mpsc::Sender<SendMessagesRequest>,
    pub responses: Streaming<SendMessagesResponse>,
}

impl Pipe {
    pub async fn open(client: &mut Client) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let responses = client.send_messages(ReceiverStream::new(receiver)).await.expect("a pipe").into_inner();
        Self { requests, responses }
    }

    pub async fn send(&self, drafts: Vec<TaggedDraft>) {
        self.requests.send(SendMessagesRequest { drafts }).await.expect("the pipe is open");
    }

    /// So many answers, by their tags.
    pub async fn outcomes(&mut self, count: usize) -> HashMap<u64, Outcome> {
        let mut outcomes = HashMap::new();
        while outcomes.len() < count {
            let response = timeout(PATIENCE, self.responses.message()).await.expect("in time").expect("no error");
            for outcome in response.expect("not the end").outcomes {
                let answer = outcome.outcome.expect("an outcome");
                assert!(outcomes.insert(outcome.tag, answer).is_none(), "one answer for each tag");
            }
        }
        outcomes
    }
}

pub fn stored(outcome: &Outcome) -> (&str, i64, bool) {
    match outcome {
        Outcome::Stored(stored) => {
            let message = stored.message.as_ref().expect("a message");
            (&message.id, message.seq, stored.repeated)
        }
        Outcome::Error(status) => panic!("{:?}", from_rpc_status(status)),
    }
}

pub async fn resent_drafts_are_stored_once(world: &World) {
    let mut process = world.process().await;
    let ann: UserId = new_id();
    let group = Group::create(&mut process.client, &[ann]).await;
    let drafts: Vec<_> = (0..100).map(|tag| tagged(tag, ann, group.draft(&tag.to_string()))).collect();
    let mut pipe = Pipe::open(&mut process.client).await;
    pipe.send(drafts.clone()).await;
    let first = pipe.outcomes(drafts.len()).await;
    // The answers are lost with the pipe: everything is sent again on another one, and something new.
    let mut pipe = Pipe::open(&mut process.client).await;
    let again = drafts.iter().cloned().map(|draft| TaggedDraft { resent: true, ..draft });
    pipe.send(again.chain([tagged(100, ann, group.draft("new"))]).collect()).await;
    let second = pipe.outcomes(drafts.len() + 1).await;
    for tag in 0..100 {
        let ((id, seq, _), (same_id, same_seq, repeated)) = (stored(&first[&tag]), stored(&second[&tag]));
        assert_eq!((id, seq, true), (same_id, same_seq, repeated));
        assert_eq!(seq, tag as i64 + 1, "in the order they were sent");
    }
    assert_eq!(stored(&second[&100]).1, 101);
}

pub async fn refusals_are_answered_one_by_one(world: &World) {
    let mut process = world.process().await;
    let (ann, eve): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(&mut process.client, &[ann]).await;
    let to_self = || messenger_proto::message::v1::Draft {
        target: Some(Target::ReceiverId(ann.to_string())),
        content: "x".to_owned(),
        ..Default::default()
    };
    let mut pipe = Pipe::open(&mut process.client).await;
    let nowhere = messenger_proto::message::v1::Draft { content: "x".to_owned(), ..Default::default() };
    pipe.send(vec![
        tagged(1, ann, group.draft("")),
        tagged(2, eve, group.draft("x")),
        tagged(3, ann, group.draft("x")),
        tagged(4, ann, to_self()),
        tagged(5, ann, nowhere),
        tagged(6, ann, group.draft(&"x".repeat(10_001))),
        TaggedDraft { sender_id: "ann".to_owned(), ..tagged(7, ann, group.draft("x")) },
        TaggedDraft { draft: None, ..tagged(8, ann, group.draft("x")) },
    ])
    .await;
    let outcomes = pipe.outcomes(8).await;
    let expected = [
        (1, ErrorKind::ValidationFailed),
        (2, ErrorKind::NotFound),
        (4, ErrorKind::ValidationFailed),
        (5, ErrorKind::ValidationFailed),
        (6, ErrorKind::MessageTooLong),
        (7, ErrorKind::ValidationFailed),
        (8, ErrorKind::ValidationFailed),
    ];
    for (tag, kind) in expected {
        let Outcome::Error(status) = &outcomes[&tag] else { panic!("{tag} is refused") };
        assert_eq!(from_rpc_status(status).kind(), kind, "{tag}");
    }
    assert_eq!(stored(&outcomes[&3]).1, 1);
}

pub async fn many_at_once(world: &World) {
    const DRAFTS: u64 = 20_000;
    let mut process = world.process().await;
    let users: Vec<UserId> = (0..10).map(|_| new_id()).collect();
    let group = Group::create(&mut process.client, &users).await;
    let mut pipe = Pipe::open(&mut process.client).await;
    let requests = pipe.requests.clone();
    // Far more than may be undecided, in frames larger than a batch, by a caller that reads answers meanwhile.
    let drafts: Vec<_> =
        (0..DRAFTS).map(|tag| tagged(tag, users[tag as usize % users.len()], group.draft(&tag.to_string()))).collect();
    let writer = tokio::spawn(async move {
        for drafts in drafts.chunks(1_000) {
            requests.send(SendMessagesRequest { drafts: drafts.to_vec() }).await.expect("the pipe is open");
        }
    });
    let outcomes = pipe.outcomes(DRAFTS as usize).await;
    writer.await.expect("written");
    for tag in 0..DRAFTS {
        assert_eq!(stored(&outcomes[&tag]).1, tag as i64 + 1);
    }
    drop(pipe.requests);
    let end = timeout(PATIENCE, pipe.responses.message()).await.expect("in time").expect("no error");
    assert!(end.is_none(), "the pipe ends when its caller does");
    let request = ListMessagesRequest { conversation_id: group.id.to_string(), ..ListMessagesRequest::default() };
    let newest = process.client.list_messages(request_as(users[0], request)).await.expect("a page").into_inner();
    assert_eq!(newest.messages[0].seq, DRAFTS as i64);
}
