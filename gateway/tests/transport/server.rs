//! A whole messenger in the test's process: three services on SQLite and a gateway on a free port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{Args, Command, FromArgMatches};
use messenger_auth::TokenConfig;
use messenger_core::{Clock, SystemClock};
use messenger_db::Location;
use messenger_gateway::{GatewayConfig, Parts, ResumeKey, Services};
use messenger_message::BusLocation;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{RpcChannel, ServerAuth, Service, Trust};
use messenger_telemetry::{Shutdown, install_metrics};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

/// How the gateway is started.
pub struct Settings(pub Vec<&'static str>);

impl Default for Settings {
    /// As in production, without rate limits.
    fn default() -> Self {
        Self(vec!["--no-rate-limits"])
    }
}

impl Settings {
    /// With the heartbeats of the published suites.
    pub fn hasty() -> Self {
        Self::default().with("--heartbeat-interval=300ms").with("--heartbeat-timeout=200ms")
    }

    pub fn with(mut self, argument: &'static str) -> Self {
        self.0.push(argument);
        self
    }

    fn config(self) -> GatewayConfig {
        let command = GatewayConfig::augment_args(Command::new("gateway").no_binary_name(true));
        let matches = command.try_get_matches_from(self.0).expect("valid arguments");
        GatewayConfig::from_arg_matches(&matches).expect("valid arguments")
    }
}

/// A registered user.
pub struct User {
    pub id: String,
    pub token: String,
}

pub struct Server {
    pub address: SocketAddr,
    edge: Shutdown,
    services: Shutdown,
    folder: TempDir,
}

impl Server {
    pub async fn start(settings: Settings) -> Self {
        Self::start_with(settings, TokenConfig::default()).await
    }

    pub async fn start_with(settings: Settings, tokens: TokenConfig) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (edge, services, clock) = (Shutdown::new(), Shutdown::new(), Arc::new(SystemClock));
        let location = Location::Sqlite(folder.path().to_owned());
        let (clients, auth) = start_services(&location, &tokens, clock.clone(), &services).await;
        let parts = Parts {
            services: clients,
            verifier: auth.verifier(),
            clock,
            resume_key: ResumeKey::derive("the resume key of a test"),
            metrics: install_metrics().expect("one recorder"),
            shutdown: edge.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let gateway = messenger_gateway::build(settings.config(), parts);
        services.spawn(messenger_gateway::serve(listener, None, gateway));
        Self { address, edge, services, folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn register(&self) -> User {
        let name = Uuid::new_v4().simple().to_string();
        let body = json!({
            "email": format!("{name}@example.com"), "password": "correct horse", "fullName": name, "designation": "",
        });
        let request = reqwest::Client::new().post(self.url("/api/v1/auth/register")).json(&body);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        User { id: text(&answer["user"]["id"]), token: text(&answer["accessToken"]) }
    }

    /// The name and the private key (PKCS#8) that auth signs with.
    pub async fn signing_key(&self) -> (String, Vec<u8>) {
        let file = Location::sqlite_file(self.folder.path(), "auth");
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("auth's file");
        let key = "SELECT kid, private_key FROM signing_key LIMIT 1";
        sqlx::query_as(key).fetch_one(&mut connection).await.expect("a key")
    }

    /// Whether everything ends in time.
    pub async fn stop(&self) -> bool {
        self.edge.drain(Duration::from_secs(9)).await && self.services.drain(Duration::from_secs(9)).await
    }
}

async fn start_services(
    location: &Location,
    tokens: &TokenConfig,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> (Services, messenger_auth::Auth) {
    let (channel, slot) = RpcChannel::in_process(Service::Gateway);
    let store = messenger_auth::open_store(location).await.expect("auth's store");
    let auth = messenger_auth::build(tokens, store, clock.clone()).await.expect("auth");
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
    slot.fill(messenger_rpc::routes(
        ServerAuth { verifier: auth.verifier(), trust: Trust::certificates() },
        |routes| {
            auth.add_to(routes, shutdown);
            conversation.add_to(routes, None);
            messages.add_to(routes, None);
        },
    ));
    (Services::new(channel.clone(), channel.clone(), channel), auth)
}
