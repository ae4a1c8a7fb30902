//! The message context: the journal, messages, read positions and the feed.
//!
//! Wiring: [`Config`] > [`open_store`] and [`open_bus`] > [`build`] > [`Messages::routes`], served over TCP by [`run`]
//! or in process by the standalone binary. A message's way: `rpc` or `streams` > `pipe` > `target` > `journal` >
//! `store`, and from there by the bus to `feed` and back through `streams`.

mod batch;
mod command;
mod config;
mod convert;
pub mod feed;
mod journal;
mod messages;
pub mod model;
mod pipe;
pub mod policy;
mod replay;
mod rpc;
pub mod sequence;
pub mod store;
pub mod streams;
mod target;

use std::sync::Arc;

use messenger_bus::{EventBus, LocalBus, PostgresBus, RedisBus};
use messenger_core::{Clock, Result, SystemClock};
use messenger_db::{Location, postgres_options};
use messenger_identity::Verifier;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_server::SERVICE_NAME,
};
use messenger_rpc::{Check, RpcChannel, Served, ServerAuth, Sockets, keys};
use messenger_telemetry::Shutdown;

use self::store::{CONTEXT, Store};
pub use self::{
    batch::EntryBatch,
    command::JournalCommand,
    config::{BusLocation, Command, Config},
    messages::Messages,
};

const POSTGRES_CONNECTIONS_MAX: u32 = 10;

/// Services this one asks.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Makes P2P conversations.
    pub conversation: ConversationServiceClient<RpcChannel>,
}

/// Opens and migrates the store of this context.
///
/// # Errors
/// With a line for the operator when the place cannot be used or its schema is newer than this program.
pub async fn open_store(location: &Location) -> Result<Arc<dyn Store>> {
    store::open(location, POSTGRES_CONNECTIONS_MAX).await
}

/// The bus between the message processes of the journal in `store`. It connects when it is used.
///
/// # Errors
/// VALIDATION_FAILED for a URL that is none; those of the store.
pub async fn open_bus(location: &BusLocation, store: &dyn Store) -> Result<Arc<dyn EventBus<EntryBatch>>> {
    let (journal, key) = (store.journal().await?.id, store.bus_key().await?);
    Ok(match location {
        BusLocation::Local => Arc::new(LocalBus::new()),
        BusLocation::Postgres(url) => Arc::new(PostgresBus::new(postgres_options(url, CONTEXT)?, journal, key)),
        BusLocation::Redis(url) => Arc::new(RedisBus::new(url, journal, key)?),
    })
}

/// Puts the service together and starts its tasks, which end with `shutdown`.
///
/// # Errors
/// UNAVAILABLE or INTERNAL when the store cannot be used.
pub async fn build(
    store: Arc<dyn Store>,
    bus: Arc<dyn EventBus<EntryBatch>>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<Messages> {
    Messages::start(store, bus, peers, clock, shutdown).await
}

/// The process: serves over TCP until SIGTERM or SIGINT, unless it was given another command.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    if let Some(Command::Journal(command)) = config.command {
        return command.run().await;
    }
    let (credential, bus) = (config.credential()?, config.bus()?);
    let conversation = RpcChannel::remote(&config.conversation_url, credential.clone())?;
    let auth = AuthServiceClient::new(RpcChannel::remote(&config.auth_url, credential.clone())?);
    let sockets = Sockets::bind(config.listen, config.metrics_listen).await?;
    let store = open_store(&config.store.location()?).await?;
    let bus = open_bus(&bus, &*store).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let shutdown = Shutdown::new();
    let peers = Peers { conversation: ConversationServiceClient::new(conversation) };
    let messages = build(store.clone(), bus, peers, Arc::clone(&clock), &shutdown).await?;
    let verifier = Arc::new(Verifier::new(config.token_rules(), clock));
    shutdown.spawn(keys::follow_jwks(auth.clone(), Arc::clone(&verifier), shutdown.token.clone()));
    shutdown.spawn(keys::follow_revocations(auth, Arc::clone(&verifier), shutdown.token.clone(), |_| {}));
    let served = Served {
        name: "message",
        services: &[SERVICE_NAME],
        routes: messages.routes(ServerAuth { verifier, credential }),
        check: check(store),
    };
    sockets.serve(served, shutdown).await
}

/// Whether the store answers.
#[must_use]
pub fn check(store: Arc<dyn Store>) -> Check {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { store.journal().await.map(drop) })
    })
}
