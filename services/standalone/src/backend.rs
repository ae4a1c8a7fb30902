//! The three services in this process. Their clients are made first and their servers after, so that each may ask the
//! others.

use std::sync::Arc;

use messenger_auth::Auth;
use messenger_conversation::Service as Conversation;
use messenger_core::{Clock, Result};
use messenger_gateway::Services;
use messenger_message::Messages;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{RpcChannel, ServerAuth};
use messenger_telemetry::Shutdown;
use tonic::service::Routes;

use crate::config::Config;

/// The services, running, and the ways to them.
pub struct Backend {
    /// For the gRPC port.
    pub routes: Routes,
    /// For the gateway.
    pub services: Services,
    /// Identity, for its keys.
    pub auth: Auth,
}

impl Backend {
    /// Opens the stores, starts the services and connects them with each other.
    ///
    /// # Errors
    /// With a line for the operator when a store or the bus cannot be used.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, shutdown: &Shutdown) -> Result<Self> {
        let (location, credential) = (config.location()?, config.credential()?);
        let (channel, slot) = RpcChannel::in_process(credential.clone());

        let auth = messenger_auth::build(&config.tokens, messenger_auth::open_store(&location).await?, clock.clone());
        let auth = auth.await?;
        auth.start(shutdown);
        let conversation = conversation(config, &channel, clock.clone(), shutdown).await?;
        let messages = messages(config, &channel, clock, shutdown).await?;

        let server_auth = ServerAuth { verifier: auth.verifier(), credential };
        let routes = messenger_rpc::routes(server_auth, |routes| {
            auth.add_to(routes, shutdown);
            conversation.add_to(routes);
            messages.add_to(routes);
        });
        slot.fill(routes.clone());
        let services = Services::new(channel.clone(), channel.clone(), channel);
        Ok(Self { routes, services, auth })
    }
}

async fn conversation(
    config: &Config,
    channel: &RpcChannel,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<Conversation> {
    let peers = messenger_conversation::Peers {
        auth: AuthServiceClient::new(channel.clone()),
        message: MessageServiceClient::new(channel.clone()),
    };
    let store = messenger_conversation::open_store(&config.location()?).await?;
    let service = messenger_conversation::build(store, peers, clock);
    service.start(shutdown);
    Ok(service)
}

async fn messages(
    config: &Config,
    channel: &RpcChannel,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<Messages> {
    let peers = messenger_message::Peers { conversation: ConversationServiceClient::new(channel.clone()) };
    let store = messenger_message::open_store(&config.location()?).await?;
    let bus = messenger_message::open_bus(&config.bus()?, store.journal().await?.id)?;
    messenger_message::build(store, bus, peers, clock, shutdown).await
}
