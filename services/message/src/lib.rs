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
mod pieces;
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
use messenger_db::postgres_options;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_server::SERVICE_NAME,
};
use messenger_rpc::{Check, Process, RpcChannel, Served, Service};

use self::store::{CONTEXT, Store};
pub use self::{
    batch::EntryBatch,
    command::JournalCommand,
    config::{BusLocation, Command, Config},
    messages::{Messages, build},
    store::open as open_store,
};

/// Services this one asks.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Makes P2P conversations.
    pub conversation: ConversationServiceClient<RpcChannel>,
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

/// The process: serves over TCP until SIGTERM or SIGINT, unless it was given another command.
///
/// # Errors
/// One line for the operator that names the setting, when it cannot start; INTERNAL when the server breaks.
pub async fn run(config: Config) -> Result<()> {
    if let Some(Command::Journal(command)) = config.command {
        return command.run().await;
    }
    let bus = config.bus()?;
    let process = Process::bind(Service::Message, &config.serve, config.listen).await?;
    let auth = AuthServiceClient::new(process.channel(Service::Auth, &config.auth_url)?);
    let conversation = process.channel(Service::Conversation, &config.conversation_url)?;
    let peers = Peers { conversation: ConversationServiceClient::new(conversation) };
    let store = open_store(&config.store.location()?).await?;
    let bus = open_bus(&bus, &*store).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let messages = build(store.clone(), bus, peers, Arc::clone(&clock), &process.shutdown).await?;
    let auth = process.server_auth(&auth, config.names.rules(), clock);
    let routes = messages.routes(auth, config.sends.rates());
    process.serve(Served { services: &[SERVICE_NAME], routes, check: check(store) }).await
}

/// Whether the store answers.
#[must_use]
pub fn check(store: Arc<dyn Store>) -> Check {
    Box::new(move || {
        let store = store.clone();
        Box::pin(async move { store.journal().await.map(drop) })
    })
}
