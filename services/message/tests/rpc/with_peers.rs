//! With the real auth and conversation beside it: the first message of two users makes their conversation.

use std::sync::Arc;

use messenger_core::{ErrorKind, SystemClock, UserId};
use messenger_message::BusLocation;
use messenger_proto::{
    auth::v1::{RegisterRequest, auth_service_client::AuthServiceClient},
    message::v1::{
        Draft, FollowRequest, ListConversationsRequest, SendMessageRequest, SendMessagesRequest, draft::Target,
        draft_outcome::Outcome, message_service_client::MessageServiceClient,
    },
};
use messenger_rpc::{RpcChannel, ServerAuth, Service, from_rpc_status, from_status, request_as};
use messenger_telemetry::Shutdown;
use tonic::{Request, transport::Endpoint};

use crate::{
    pipe::{Pipe, stored},
    support::{Listener, Process, World, message_of, new_id, tagged},
};

/// The three services, connected in process.
struct Services {
    auth: AuthServiceClient<RpcChannel>,
    message: Process,
}

async fn start(world: &World) -> Services {
    let shutdown = Shutdown::new();
    let clock = Arc::new(SystemClock);
    let (channel, slot) = RpcChannel::in_process(Service::Gateway);
    let store = messenger_auth::open_store(&world.location()).await.expect("a store");
    let auth = messenger_auth::build(&Default::default(), store, clock.clone()).await.expect("auth");
    auth.start(&shutdown);
    let peers = messenger_conversation::Peers {
        auth: AuthServiceClient::new(channel.shown_by(Service::Conversation)),
        message: MessageServiceClient::new(channel.shown_by(Service::Conversation)),
    };
    let store = messenger_conversation::open_store(&world.location()).await.expect("a store");
    let conversation = messenger_conversation::build(store, peers, clock);
    conversation.start(&shutdown);
    let messages = world.messages(BusLocation::Local, channel.shown_by(Service::Message), &shutdown).await;
    let server_auth = ServerAuth { verifier: auth.verifier(), trust: world.credential.trust() };
    let routes = messenger_rpc::routes(server_auth, |routes| {
        auth.add_to(routes, &shutdown);
        conversation.add_to(routes, None);
        messages.add_to(routes, None);
    });
    slot.fill(routes.clone());
    Services { auth: AuthServiceClient::new(channel), message: world.serve(routes, shutdown).await }
}

impl Services {
    /// A new user and its access token.
    async fn register(&mut self, name: &str) -> (UserId, String) {
        let request = RegisterRequest {
            email: format!("{name}@example.org"),
            password: "correct horse".to_owned(),
            full_name: name.to_owned(),
            designation: "tester".to_owned(),
            ..Default::default()
        };
        let answer = self.auth.register(request).await.expect("registered").into_inner();
        let id = UserId::parse("id", &answer.user.expect("a user").id).expect("a UUID");
        (id, answer.tokens.expect("tokens").access_token)
    }
}

fn to(receiver: UserId, content: &str) -> Draft {
    let target = Some(Target::ReceiverId(receiver.to_string()));
    Draft { target, content: content.to_owned(), ..Draft::default() }
}

pub async fn a_first_message_makes_the_conversation(world: &World) {
    const DRAFTS: u64 = 300;
    let mut services = start(world).await;
    let (ann, token) = services.register("ann").await;
    let (bob, _) = services.register("bob").await;
    let nobody: UserId = new_id();
    let mut listener = Listener::of(&mut services.message.client, &[bob]).await;

    let mut pipe = Pipe::open(&mut services.message.client).await;
    let drafts: Vec<_> = (0..DRAFTS).map(|tag| tagged(tag, ann, to(bob, &tag.to_string()))).collect();
    pipe.send(vec![tagged(DRAFTS, ann, to(nobody, "hello?"))]).await;
    for drafts in drafts.chunks(7) {
        pipe.send(drafts.to_vec()).await;
    }
    let outcomes = pipe.outcomes(DRAFTS as usize + 1).await;
    for tag in 0..DRAFTS {
        assert_eq!(stored(&outcomes[&tag]).1, tag as i64 + 1, "in the order they were sent");
    }
    let Outcome::Error(status) = &outcomes[&DRAFTS] else { panic!("nobody cannot be written to") };
    assert_eq!(from_rpc_status(status).kind(), ErrorKind::NotFound);

    assert!(message_of(listener.entry().await).is_none(), "first the conversation");
    for n in 0..DRAFTS {
        assert_eq!(listener.message().await.content, n.to_string());
    }
    let answer = SendMessageRequest { draft: Some(to(ann, "yes")) };
    let answer = services.message.client.send_message(request_as(bob, answer)).await.expect("sent").into_inner();
    let answer = answer.message.expect("a message");
    assert_eq!(answer.seq, DRAFTS as i64 + 1, "the other way it is the same conversation");
    as_end_user(&services.message, &token, answer.conversation_id).await;
}

/// One conversation has two names, and a process that has just started knows only one of them.
pub async fn drafts_of_one_conversation_stay_in_order(world: &World) {
    const ROUNDS: u64 = 20;
    let mut services = start(world).await;
    let (ann, _) = services.register("ann").await;
    let mut tag = 0;
    let mut next = |draft: Draft| {
        tag += 1;
        tagged(tag, ann, Draft { content: tag.to_string(), ..draft })
    };
    let (mut drafts, mut talks) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (bob, _) = services.register(&format!("bob{round}")).await;
        let first = SendMessageRequest { draft: Some(to(ann, "hello")) };
        let first = services.message.client.send_message(request_as(bob, first)).await.expect("sent").into_inner();
        let id = first.message.expect("a message").conversation_id;
        let named = |target| Draft { target: Some(target), ..Draft::default() };
        let (by_id, as_group) = (Target::ConversationId(id.clone()), Target::GroupId(id.clone()));
        for draft in [to(bob, ""), named(by_id.clone()), to(bob, ""), named(as_group), named(by_id)] {
            drafts.push(next(draft));
        }
        drafts.push(next(to(new_id(), "")));
        talks.push(id);
    }

    let fresh = start(world).await;
    let mut pipe = Pipe::open(&mut fresh.message.client.clone()).await;
    // The pairs of a batch are looked for at once.
    for batch in drafts.chunks(60) {
        pipe.send(batch.to_vec()).await;
    }
    let outcomes = pipe.outcomes(drafts.len()).await;
    for (six, talk) in drafts.chunks(6).zip(talks) {
        let outcome = |n: usize| &outcomes[&six[n].tag];
        let seqs = [0, 1, 2, 4].map(|n| stored(outcome(n)).1);
        assert_eq!(seqs, [2, 3, 4, 5], "in the order they were sent to {talk}");
        for n in [3, 5] {
            let Outcome::Error(status) = outcome(n) else { panic!("neither a group nor a user") };
            assert_eq!(from_rpc_status(status).kind(), ErrorKind::NotFound);
        }
    }
}

/// A user with its own token reads what is its own, and may not do what is for services.
async fn as_end_user(process: &Process, token: &str, conversation: String) {
    let Some(url) = &process.url else { return };
    let channel = Endpoint::from_shared(url.clone()).expect("a URL").connect().await.expect("connects");
    let mut client = MessageServiceClient::new(channel);
    let bearer = format!("Bearer {token}").parse::<tonic::metadata::MetadataValue<_>>().expect("ASCII");
    fn with<T>(message: T, bearer: &tonic::metadata::MetadataValue<tonic::metadata::Ascii>) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer.clone());
        request
    }
    let list = with(ListConversationsRequest::default(), &bearer);
    let page = client.list_conversations(list).await.expect("a page").into_inner();
    assert_eq!(page.conversations[0].conversation_id, conversation);
    let follow = client.follow(with(tokio_stream::iter(Vec::<FollowRequest>::new()), &bearer)).await;
    assert_eq!(from_status(&follow.expect_err("for services")).kind(), ErrorKind::Forbidden);
    let pipe = client.send_messages(with(tokio_stream::iter(Vec::<SendMessagesRequest>::new()), &bearer)).await;
    assert_eq!(from_status(&pipe.expect_err("for services")).kind(), ErrorKind::Forbidden);
}
