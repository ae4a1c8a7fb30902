//! Conversations and their participants: decides every change of them, and who may ask for it.
//!
//! A change is written with its outbox row in one transaction, then sent to the journal of the message context, and
//! only then answered. Wiring: [`Config`] > [`open_store`] > [`build`] > [`Conversations::routes`], served over TCP by
//! [`run`] or in process by the standalone binary. [`Conversations::start`] runs what belongs beside them.

mod config;
mod conversations;
mod convert;
pub mod model;
mod outbox;
mod participants;
mod policy;
mod rpc;
pub mod store;
mod users;

use std::sync::Arc;

use messenger_core::{Clock, Result, SystemClock};
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_server::{ConversationServiceServer, SERVICE_NAME},
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{Check, Process, RpcChannel, SendRates, Served, ServerAuth, Service};
use messenger_telemetry::Shutdown;
use tonic::service::{Routes, RoutesBuilder};

pub use self::{config::Config, conversations::Conversations, store::open as open_store};
use self::{outbox::Outbox, rpc::Rpc, store::Store, users::Users};

/// Larger than any request of this service: 1,000 ids.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// The services this one asks.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Knows which users exist.
    pub auth: AuthServiceClient<RpcChannel>,
    /// Holds the journal.
    pub message: MessageServiceClient<RpcChannel>,
}

/// Puts the service together.
#[must_use]
pub fn build(store: Store, peers: Peers, clock: Arc<dyn Clock>) -> Arc<Conversations> {
    let outbox = Outbox::new(store.clone(), peers.message);
    Arc::new(Conversations::new(store, Users::new(peers.auth), outbox, clock))
}

impl Conversations {
    /// Starts what runs beside the server: it delivers changes that callers left behind.
    pub fn start(&self, shutdown: &Shutdown) {
        shutdown.spawn(self.outbox.clone().drain(shutdown.token.clone()));
    }

    /// The generated server behind authentication. Serve it, or put it in an in-process slot, or both.
    #[must_use]
    pub fn routes(self: &Arc<Self>, auth: ServerAuth, rates: Option<SendRates>) -> Routes {
        messenger_rpc::routes(auth, |routes| self.add_to(routes, rates))
    }

    /// Adds the generated server to others, for one layer of authentication in front of all. With these rates for end
    /// users who change conversations by gRPC themselves, as for what they send.
    pub fn add_to(self: &Arc<Self>, routes: &mut RoutesBuilder, rates: Option<SendRates>) {
        let rpc = Rpc::new(self.clone(), rates);
        routes.add_service(ConversationServiceServer::new(rpc).max_decoding_message_size(REQUEST_BYTES_MAX));
    }
}

/// The process: serves over TCP until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    let process = Process::bind(Service::Conversation, &config.serve, config.listen).await?;
    let peers = Peers {
        auth: AuthServiceClient::new(process.channel(Service::Auth, &config.auth_url)?),
        message: MessageServiceClient::new(process.channel(Service::Message, &config.message_url)?),
    };
    let clock = Arc::new(SystemClock);
    let auth = process.server_auth(&peers.auth, config.names.rules(), clock.clone());
    let store = open_store(&config.store.location()?).await?;
    let conversations = build(store.clone(), peers, clock);
    conversations.start(&process.shutdown);
    let routes = conversations.routes(auth, config.changes.rates());
    process.serve(Served { services: &[SERVICE_NAME], routes, check: check(store) }).await
}

/// Whether the store answers.
#[must_use]
pub fn check(store: Store) -> Check {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { store.undelivered(None, 1).await.map(drop) })
    })
}
