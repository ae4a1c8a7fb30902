//! Three services in the test's process and gateways before them.

use std::{sync::Arc, time::Duration};

use clap::{Args, Command, FromArgMatches};
use messenger_auth::{Auth, TokenConfig};
use messenger_core::{Clock, SystemClock};
use messenger_db::Location;
use messenger_gateway::{Gateway, GatewayConfig, Parts, ResumeKey, Services};
use messenger_identity::Verifier;
use messenger_message::BusLocation;
use messenger_proto::{
    auth::v1::{RegisterRequest, auth_service_client::AuthServiceClient},
    conversation::v1::{
        AddParticipantsRequest, CreateGroupRequest, RemoveParticipantRequest,
        conversation_service_client::ConversationServiceClient,
    },
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{HealthReporter, RpcChannel, ServerAuth, Service, ServiceCredential, request_as};
use messenger_telemetry::{Shutdown, install_metrics};
use messenger_testkit::{Link, database};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Request, service::Routes};
use uuid::Uuid;

use crate::client::{Client, in_time};

/// A registered user, logged in.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub token: String,
    pub refresh_token: String,
}

pub struct World {
    pub gateway: Arc<Gateway>,
    pub edge: Shutdown,
    /// Between the gateway and the message service.
    pub link: Link,
    services: Services,
    tokens: TokenConfig,
    _folder: Option<TempDir>,
}

impl World {
    /// Without rate limits.
    pub async fn start() -> Self {
        Self::start_with(&["--no-rate-limits"], TokenConfig::default()).await
    }

    pub async fn start_with(arguments: &[&'static str], tokens: TokenConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::Sqlite(folder.path().to_owned());
        Self::start_on(&location, arguments, tokens, Some(folder)).await
    }

    /// Without rate limits, on PostgreSQL.
    pub async fn on_postgres() -> Self {
        let location = Location::Postgres(database::create().await.expect("a database"));
        Self::start_on(&location, &["--no-rate-limits"], TokenConfig::default(), None).await
    }

    async fn start_on(
        location: &Location,
        arguments: &[&'static str],
        tokens: TokenConfig,
        folder: Option<TempDir>,
    ) -> Self {
        let credential = ServiceCredential::random(Service::Gateway).expect("randomness");
        let shutdown = Shutdown::new();
        let (channel, routes) = start_services(location, &tokens, &credential, &shutdown).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let link = Link::to(listener.local_addr().expect("bound")).await;
        let health = HealthReporter::new(&[]).await;
        shutdown.spawn(messenger_rpc::serve(listener.into(), routes, shutdown.token.clone(), health));
        let remote =
            RpcChannel::remote(Service::Message, &format!("http://{}", link.address), credential).expect("a URL");
        let services = Services::new(channel.clone(), channel, remote);
        let edge = Shutdown::new();
        let gateway = start_gateway(arguments, &services, &tokens, edge.clone()).await;
        Self { gateway, edge, link, services, tokens, _folder: folder }
    }

    /// One more gateway before the same services.
    pub async fn another_gateway(&self) -> Arc<Gateway> {
        start_gateway(&["--no-rate-limits"], &self.services, &self.tokens, Shutdown::new()).await
    }

    pub async fn register(&self) -> User {
        let name = Uuid::new_v4().simple().to_string();
        let request = RegisterRequest {
            email: format!("{name}@example.com"),
            password: "correct horse".into(),
            full_name: name,
            ..Default::default()
        };
        let answer = self.services.auth.clone().register(Request::new(request)).await.expect("registers").into_inner();
        let tokens = answer.tokens.expect("tokens");
        User { id: answer.user.expect("a user").id, token: tokens.access_token, refresh_token: tokens.refresh_token }
    }

    pub async fn connect(&self, user: &User) -> Client {
        Client::connect(&self.gateway, user).await
    }

    /// Says the group's id.
    pub async fn create_group(&self, admin: &User, members: &[&User], is_restricted: bool) -> String {
        let member_ids = members.iter().map(|member| member.id.clone()).collect();
        let request = CreateGroupRequest { name: "a group".into(), is_restricted, member_ids, client_group_id: None };
        let request = request_as(admin.id.parse().expect("a UUID"), request);
        let answer = self.services.conversation.clone().create_group(request).await.expect("created").into_inner();
        answer.conversation.and_then(|view| view.conversation).expect("a conversation").id
    }

    pub async fn add(&self, admin: &User, group: &str, user: &User) {
        let request = AddParticipantsRequest {
            conversation_id: group.into(),
            user_ids: vec![user.id.clone()],
            expected_version: None,
        };
        let request = request_as(admin.id.parse().expect("a UUID"), request);
        self.services.conversation.clone().add_participants(request).await.expect("added");
    }

    pub async fn remove(&self, admin: &User, group: &str, user: &User) {
        let request = RemoveParticipantRequest {
            conversation_id: group.into(),
            user_id: user.id.clone(),
            expected_version: None,
        };
        let request = request_as(admin.id.parse().expect("a UUID"), request);
        self.services.conversation.clone().remove_participant(request).await.expect("removed");
    }

    pub fn auth(&self) -> AuthServiceClient<RpcChannel> {
        self.services.auth.clone()
    }
}

async fn start_gateway(
    arguments: &[&'static str],
    services: &Services,
    tokens: &TokenConfig,
    shutdown: Shutdown,
) -> Arc<Gateway> {
    let command = GatewayConfig::augment_args(Command::new("gateway").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments).expect("valid arguments");
    let clock = Arc::new(SystemClock);
    let parts = Parts {
        services: services.clone(),
        verifier: Arc::new(Verifier::new(tokens.rules(), clock.clone())),
        clock,
        resume_key: ResumeKey::derive("the resume key of a test"),
        metrics: install_metrics().expect("one recorder"),
        shutdown,
    };
    let config = GatewayConfig::from_arg_matches(&matches).expect("valid arguments");
    let gateway = messenger_gateway::build(config, parts);
    in_time(gateway.ready()).await;
    gateway
}

async fn start_services(
    location: &Location,
    tokens: &TokenConfig,
    credential: &ServiceCredential,
    shutdown: &Shutdown,
) -> (RpcChannel, Routes) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (channel, slot) = RpcChannel::in_process(Service::Gateway);
    let store = messenger_auth::open_store(location).await.expect("auth's store");
    let auth: Auth = messenger_auth::build(tokens, store, clock.clone()).await.expect("auth");
    auth.start(shutdown);
    let store = messenger_conversation::open_store(location).await.expect("conversation's store");
    let peers = messenger_conversation::Peers {
        auth: AuthServiceClient::new(channel.shown_by(Service::Conversation)),
        message: MessageServiceClient::new(channel.shown_by(Service::Conversation)),
    };
    let conversation = messenger_conversation::build(store, peers, clock.clone());
    conversation.start(shutdown);
    let store = messenger_message::open_store(location).await.expect("message's store");
    let bus = messenger_message::open_bus(&BusLocation::Local, &*store).await.expect("a bus");
    let peers =
        messenger_message::Peers { conversation: ConversationServiceClient::new(channel.shown_by(Service::Message)) };
    let messages = messenger_message::build(store, bus, peers, clock, shutdown).await.expect("message");
    let server_auth = ServerAuth { verifier: auth.verifier(), trust: credential.trust() };
    let routes = messenger_rpc::routes(server_auth, |routes| {
        auth.add_to(routes, shutdown);
        conversation.add_to(routes, None);
        messages.add_to(routes, None);
    });
    slot.fill(routes.clone());
    (channel, routes)
}

/// Long enough for everything but a fault.
pub const SOON: Duration = Duration::from_secs(20);
