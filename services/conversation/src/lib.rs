//! Conversations and their participants: decides every change of them, and who may ask for it.
//!
//! A change is written with its outbox row in one transaction, then sent to the journal of the message context, and
//! only then answered. Wiring: [`Config`] > [`open_store`] > [`build`] > [`Service::routes`], served over TCP by [`run`]
//! or in process by the standalone binary. [`Service::start`] runs what belongs beside them.

mod config;
pub mod conversations;
mod convert;
pub mod model;
pub mod outbox;
mod participants;
pub mod policy;
mod rpc;
pub mod store;
pub mod users;

use std::{sync::Arc, time::Duration};

use messenger_core::{Clock, Error, Result, SystemClock};
use messenger_identity::Verifier;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_server::{ConversationServiceServer, SERVICE_NAME},
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{HealthReporter, RpcChannel, ServerAuth, keys};
use messenger_telemetry::{Shutdown, TelemetryConfig};
use tonic::service::{Routes, RoutesBuilder};

pub use self::{config::Config, rpc::Rpc, store::open as open_store};
use self::{conversations::Conversations, outbox::Outbox, store::Store, users::Users};

/// Larger than any request of this service: 1,000 ids.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// The services this one asks.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Knows which users exist.
    pub auth: AuthServiceClient<RpcChannel>,
    /// Holds the journal.
    pub message: MessageServiceClient<RpcChannel>,
}

/// The service, ready to be served.
pub struct Service {
    conversations: Arc<Conversations>,
    outbox: Outbox,
}

/// Puts the service together.
#[must_use]
pub fn build(store: Arc<dyn Store>, peers: Peers, clock: Arc<dyn Clock>) -> Service {
    let outbox = Outbox::new(store.clone(), peers.message);
    let conversations = Arc::new(Conversations::new(store, Users::new(peers.auth), outbox.clone(), clock));
    Service { conversations, outbox }
}

impl Service {
    /// Starts what runs beside the server: it delivers changes that callers left behind.
    pub fn start(&self, shutdown: &Shutdown) {
        shutdown.spawn(self.outbox.clone().drain(shutdown.token.clone()));
    }

    /// The generated server behind authentication. Serve it, or put it in an in-process slot, or both.
    #[must_use]
    pub fn routes(&self, auth: ServerAuth) -> Routes {
        messenger_rpc::routes(auth, |routes| self.add_to(routes))
    }

    /// Adds the generated server to others, for one layer of authentication in front of all.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        let rpc = Rpc::new(self.conversations.clone());
        routes.add_service(ConversationServiceServer::new(rpc).max_decoding_message_size(REQUEST_BYTES_MAX));
    }
}

/// The process: serves over TCP until SIGTERM or SIGINT.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    let credential = config.credential()?;
    let peers = config.peers(&credential)?;
    let log_filter = config.telemetry.log.clone();
    let _telemetry = messenger_telemetry::init(TelemetryConfig { service_name: "messenger-conversation", log_filter })?;
    let listener = messenger_rpc::listen("--listen (MESSENGER_LISTEN)", config.listen).await?;
    let address = listener.local_addr().map_err(Error::internal)?;
    let clock = Arc::new(SystemClock);
    let verifier = Arc::new(Verifier::new(config.token_rules(), clock.clone()));
    let shutdown = Shutdown::new();
    follow_auth(&peers.auth, &verifier, &shutdown);
    let service = build(open_store(&config.location()?).await?, peers, clock);
    service.start(&shutdown);
    shutdown.cancel_on_signal();
    let health = HealthReporter::new(&[SERVICE_NAME]).await;
    health.set_serving(true).await;
    tracing::info!(%address, "conversation is ready");
    let routes = service.routes(ServerAuth { verifier, credential });
    let served = messenger_rpc::serve(listener, routes, shutdown.token.clone(), health).await;
    shutdown.drain(DRAIN_MAX).await;
    served
}

/// Keeps what end users are verified by.
fn follow_auth(auth: &AuthServiceClient<RpcChannel>, verifier: &Arc<Verifier>, shutdown: &Shutdown) {
    shutdown.spawn(keys::follow_jwks(auth.clone(), verifier.clone(), shutdown.token.clone()));
    shutdown.spawn(keys::follow_revocations(auth.clone(), verifier.clone(), shutdown.token.clone(), |_| {}));
}
