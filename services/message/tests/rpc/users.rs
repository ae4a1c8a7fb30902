//! End users who call themselves, without a gateway: by its rates, and for their own share of places.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use messenger_core::{Clock as _, ConversationId, ErrorKind, SystemClock, UserId};
use messenger_identity::{AccessClaims, Identity, Signer, TokenRules, Verifier, jwks};
use messenger_message::BusLocation;
use messenger_proto::message::v1::{
    Draft, SendMessageRequest, SubscribeRequest, draft::Target, message_service_client::MessageServiceClient,
    subscribe_response::Event,
};
use messenger_rpc::{RpcChannel, SendRates, ServerAuth, Service, from_status, request_as};
use messenger_telemetry::Shutdown;
use tokio::time::timeout;
use tonic::{Code, Request, Status, service::Routes};

use crate::support::{Group, PATIENCE, World, new_id};

/// A server that counts, its users' tokens, and the way to it for anybody and for the gateway.
struct Scene {
    signer: Signer,
    client: MessageServiceClient<Routes>,
    gateway: MessageServiceClient<RpcChannel>,
    _shutdown: Shutdown,
}

impl Scene {
    async fn new(world: &World) -> Self {
        let signer = Signer::from_pkcs8("k1", &Signer::generate().expect("randomness")).expect("a key");
        let verifier = Arc::new(Verifier::new(TokenRules::default(), Arc::new(SystemClock)));
        verifier.set_keys(&jwks(&[signer.jwk()])).expect("a key");
        verifier.set_caught_up();
        let (shutdown, (conversation, _)) = (Shutdown::new(), RpcChannel::in_process(Service::Message));
        let messages = world.messages(BusLocation::Local, conversation, &shutdown).await;
        let [one, burst, many] = [1, 5, 1_000].map(|rate| NonZeroU32::new(rate).expect("not zero"));
        let rates = SendRates { per_user: one, burst_per_user: burst, per_conversation: many };
        let auth = ServerAuth { verifier, trust: world.credential.trust() };
        let routes = messages.routes(auth, Some(rates));
        let (channel, slot) = RpcChannel::in_process(Service::Gateway);
        slot.fill(routes.clone());
        let (client, gateway) = (MessageServiceClient::new(routes), MessageServiceClient::new(channel));
        Self { signer, client, gateway, _shutdown: shutdown }
    }

    fn as_user<T>(&self, user_id: UserId, message: T) -> Request<T> {
        let now = SystemClock.now();
        let expires_at = now.plus(Duration::from_secs(600));
        let identity = Identity { user_id, session_id: new_id(), issued_at: now, expires_at };
        let token = self.signer.sign(&AccessClaims::new(&TokenRules::default(), identity, "t1".to_owned()));
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
        request
    }
}

/// To a group that is none of the sender's: whether it is refused for that or for the rate, it is counted.
fn send() -> SendMessageRequest {
    let group: ConversationId = new_id();
    let target = Some(Target::GroupId(group.to_string()));
    SendMessageRequest { draft: Some(Draft { target, content: "hello".to_owned(), ..Draft::default() }) }
}

fn kind(status: &Status) -> ErrorKind {
    from_status(status).kind()
}

pub async fn users_send_at_the_rate_of_the_edge(world: &World) {
    let mut scene = Scene::new(world).await;
    let (ann, bob) = (new_id(), new_id());
    let flood = async {
        for sent in 0.. {
            let request = scene.as_user(ann, send());
            let refused = scene.client.send_message(request).await.expect_err("not her group");
            if kind(&refused) != ErrorKind::NotFound {
                return (sent, refused);
            }
        }
        unreachable!("one at least is over the rate");
    };
    let (sent, refused) = timeout(PATIENCE, flood).await.expect("nobody sends without end");
    assert!(sent >= 5, "the burst is let through: {sent}");
    assert_eq!((kind(&refused), refused.code()), (ErrorKind::RateLimited, Code::ResourceExhausted));
    let wait = from_status(&refused).retry_after();
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(1)), "{wait:?}");

    let other = scene.client.send_message(scene.as_user(bob, send())).await.expect_err("not his group");
    assert_eq!(kind(&other), ErrorKind::NotFound, "another user is not touched");
    for _ in 0..10 {
        let counted = scene.gateway.send_message(request_as(ann, send())).await.expect_err("not her group");
        assert_eq!(kind(&counted), ErrorKind::NotFound, "the gateway has counted");
    }
}

/// As many streams as a user may have, none of them read: each waits for little.
pub async fn row_76_a_subscription_nobody_reads(world: &World) {
    const MESSAGES: u64 = 100;
    let mut scene = Scene::new(world).await;
    let (ann, bob) = (new_id(), new_id());
    let mut process = world.process().await;
    let group = Group::create(&mut process.client, &[ann, bob]).await;
    let request = scene.as_user(bob, SubscribeRequest::default());
    let mut unread = scene.client.subscribe(request).await.expect("a place").into_inner();
    let first = timeout(PATIENCE, unread.message()).await.expect("in time").expect("open").expect("not ended");
    assert!(matches!(first.event, Some(Event::CaughtUp(_))), "{first:?}");
    for _ in 0..MESSAGES {
        let draft = Some(group.draft(&"\u{1f600}".repeat(10_000)));
        let sent = scene.gateway.send_message(request_as(ann, SendMessageRequest { draft })).await;
        sent.expect("stored by the process that bob listens to");
    }
    let mut heard = 0;
    let refused = loop {
        match timeout(PATIENCE, unread.message()).await.expect("in time") {
            Ok(Some(_)) => heard += 1,
            Ok(None) => panic!("it is told why"),
            Err(status) => break status,
        }
    };
    assert_eq!(kind(&refused), ErrorKind::RateLimited);
    assert!(heard < MESSAGES, "{heard}");
}

pub async fn a_user_has_so_many_streams(world: &World) {
    const STREAMS: usize = 32;
    let mut scene = Scene::new(world).await;
    let (ann, bob) = (new_id(), new_id());
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let request = scene.as_user(ann, SubscribeRequest::default());
        streams.push(scene.client.subscribe(request).await.expect("a place").into_inner());
    }
    let request = scene.as_user(ann, SubscribeRequest::default());
    let refused = scene.client.subscribe(request).await.expect_err("one too many");
    assert_eq!(kind(&refused), ErrorKind::RateLimited);
    let request = scene.as_user(bob, SubscribeRequest::default());
    scene.client.subscribe(request).await.expect("another user has his own");
    drop(streams.pop());
    let request = scene.as_user(ann, SubscribeRequest::default());
    scene.client.subscribe(request).await.expect("the place was given back");
}
