//! The far ends of the wires of this service, honest but for the faults a test asks for: auth as far as it says which
//! users exist, and the journal as far as it takes changes by their versions.

pub mod process;
pub mod real;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::{Future, ready},
};

use messenger_core::{Error, UserId};
use messenger_proto::{
    auth::v1::{BatchGetUsersRequest, BatchGetUsersResponse, User, auth_service_client::AuthServiceClient},
    event::v1::ConversationChanged,
    message::v1::{AppendChangesRequest, AppendChangesResponse, message_service_client::MessageServiceClient},
};
use messenger_rpc::{RpcChannel, Service, to_status};
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};
use tonic_prost::ProstCodec;

/// A channel to one method.
fn channel<Asked, Answer, Work>(path: &str, work: impl Fn(Asked) -> Work + Clone + Send + Sync + 'static) -> RpcChannel
where
    Asked: prost::Message + Default + 'static,
    Answer: prost::Message + 'static,
    Work: Future<Output = Result<Answer, Status>> + Send + 'static,
{
    let method = move |request: axum::extract::Request| {
        let work = work.clone();
        async move {
            let service = tower::service_fn(|asked: Request<Asked>| {
                let answer = work(asked.into_inner());
                async { answer.await.map(Response::new) }
            });
            let codec = ProstCodec::<Answer, Asked>::default();
            Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(service, request).await)
        }
    };
    let (channel, slot) = RpcChannel::in_process(Service::Conversation);
    slot.fill(Routes::from(axum::Router::new().route_service(path, tower::service_fn(method))));
    channel
}

/// Auth, where everybody exists but a few.
pub fn auth(nobody: UserId) -> AuthServiceClient<RpcChannel> {
    let known = move |asked: BatchGetUsersRequest| {
        assert!(asked.user_ids.len() <= 1_000, "{} users in one request", asked.user_ids.len());
        let asked: HashSet<String> = asked.user_ids.into_iter().filter(|id| *id != nobody.to_string()).collect();
        let users = asked.into_iter().map(|id| User { id, ..User::default() }).collect();
        ready(Ok(BatchGetUsersResponse { users }))
    };
    AuthServiceClient::new(channel("/messenger.auth.v1.AuthService/BatchGetUsers", known))
}

/// Changes by conversation.
type Held = HashMap<String, Vec<ConversationChanged>>;

/// What the journal holds.
#[derive(Clone)]
pub struct Journal(watch::Sender<Held>);

impl Journal {
    pub fn new() -> Self {
        Self(watch::Sender::new(Held::new()))
    }

    pub fn changes(&self, conversation: &str) -> Vec<ConversationChanged> {
        self.0.borrow().get(conversation).cloned().unwrap_or_default()
    }

    pub fn versions(&self, conversation: &str) -> Vec<i64> {
        self.changes(conversation).iter().map(version).collect()
    }

    pub fn conversation_count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns when it holds so many changes in all.
    pub async fn holds(&self, count: usize) {
        let is_there = |held: &Held| held.values().map(Vec::len).sum::<usize>() >= count;
        self.0.subscribe().wait_for(is_there).await.expect("the journal is there");
    }

    /// As after restoring a backup.
    pub fn replace(&self, conversation: &str, changes: Vec<ConversationChanged>) {
        self.0.send_modify(|held| drop(held.insert(conversation.to_owned(), changes)));
    }

    fn append(&self, asked: AppendChangesRequest) -> AppendChangesResponse {
        let mut last_version = 0;
        self.0.send_modify(|held| last_version = append(held, asked.changes));
        AppendChangesResponse { version: last_version }
    }
}

/// The rule of versions: what comes next is taken, what is there is left, a gap is answered with the version.
fn append(held: &mut Held, changes: Vec<ConversationChanged>) -> i64 {
    assert!((1..=100).contains(&changes.len()), "{} changes in one request", changes.len());
    let bytes: usize = changes.iter().map(prost::Message::encoded_len).sum();
    assert!(changes.len() == 1 || bytes <= 1024 * 1024, "{bytes} bytes in one request");
    for pair in changes.windows(2) {
        assert_eq!(conversation(&pair[0]).id, conversation(&pair[1]).id, "one conversation");
        assert_eq!(version(&pair[0]) + 1, version(&pair[1]), "versions are consecutive");
    }
    let held = held.entry(conversation(&changes[0]).id.clone()).or_default();
    for change in changes {
        if version(&change) == held.last().map_or(0, version) + 1 {
            held.push(change);
        }
    }
    held.last().map_or(0, version)
}

fn conversation(change: &ConversationChanged) -> &messenger_proto::event::v1::Conversation {
    change.conversation.as_ref().expect("a change has its conversation")
}

fn version(change: &ConversationChanged) -> i64 {
    conversation(change).version
}

/// What is wrong with the way to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nothing arrives.
    Down,
    /// What arrives is done, the answer is lost.
    AnswersLost,
    /// What was sent arrives when the fault ends.
    Held,
}

/// One process's way to the journal.
#[derive(Clone)]
pub struct Wire {
    journal: Journal,
    fault: watch::Sender<Fault>,
    held: watch::Sender<usize>,
}

impl Wire {
    pub fn new(journal: &Journal) -> Self {
        let (fault, held) = (watch::Sender::new(Fault::None), watch::Sender::new(0));
        Self { journal: journal.clone(), fault, held }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Returns when so many calls have been held.
    pub async fn held(&self, count: usize) {
        self.held.subscribe().wait_for(|held| *held >= count).await.expect("the wire is there");
    }

    pub fn client(&self) -> MessageServiceClient<RpcChannel> {
        let wire = self.clone();
        let append = move |asked| {
            let wire = wire.clone();
            async move { wire.append(asked).await }
        };
        MessageServiceClient::new(channel("/messenger.message.v1.MessageService/AppendChanges", append))
    }

    async fn append(&self, asked: AppendChangesRequest) -> Result<AppendChangesResponse, Status> {
        let fault = *self.fault.borrow();
        match fault {
            Fault::None => Ok(self.journal.append(asked)),
            Fault::Down => Err(to_status(Error::unavailable("down"))),
            Fault::AnswersLost => {
                self.journal.append(asked);
                Err(to_status(Error::unavailable("answer lost")))
            }
            Fault::Held => {
                self.held.send_modify(|held| *held += 1);
                self.fault.subscribe().wait_for(|fault| *fault != Fault::Held).await.expect("the wire is there");
                Ok(self.journal.append(asked))
            }
        }
    }
}
