//! The three services in this process. Their clients are made first and their servers after, so that each may ask the
//! others.

use std::sync::Arc;

use messenger_auth::Auth;
use messenger_conversation::Conversations;
use messenger_core::{Clock, Result};
use messenger_gateway::Services;
use messenger_message::Messages;
use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::{Check, RpcChannel, ServerAuth, Service};
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
    /// Whether the stores answer.
    pub check: Check,
}

impl Backend {
    /// Opens the stores, starts the services and connects them with each other.
    ///
    /// # Errors
    /// With a line for the operator when a store or the bus cannot be used.
    pub async fn start(config: &Config, clock: Arc<dyn Clock>, shutdown: &Shutdown) -> Result<Self> {
        let (location, trust) = (config.store.location()?, config.trust()?);
        let (channel, slot) = RpcChannel::in_process(Service::Gateway);

        let store = messenger_auth::open_store(&location).await?;
        let auth = messenger_auth::build(&config.tokens, store.clone(), clock.clone()).await?;
        auth.start(shutdown);
        let (conversations, conversation_check) =
            conversations(config, &channel.shown_by(Service::Conversation), clock.clone(), shutdown).await?;
        let (messages, message_check) = messages(config, &channel.shown_by(Service::Message), clock, shutdown).await?;
        let check = all([messenger_auth::check(store), conversation_check, message_check]);

        let (server_auth, rates) = (ServerAuth { verifier: auth.verifier(), trust }, config.gateway.sends.rates());
        let routes = messenger_rpc::routes(server_auth, |routes| {
            auth.add_to(routes, shutdown);
            conversations.add_to(routes, rates);
            messages.add_to(routes, rates);
        });
        slot.fill(routes.clone());
        let services = Services::new(channel.clone(), channel.clone(), channel);
        Ok(Self { routes, services, auth, check })
    }
}

async fn conversations(
    config: &Config,
    channel: &RpcChannel,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<(Arc<Conversations>, Check)> {
    let peers = messenger_conversation::Peers {
        auth: AuthServiceClient::new(channel.clone()),
        message: MessageServiceClient::new(channel.clone()),
    };
    let store = messenger_conversation::open_store(&config.store.location()?).await?;
    let conversations = messenger_conversation::build(store.clone(), peers, clock);
    conversations.start(shutdown);
    Ok((conversations, messenger_conversation::check(store)))
}

async fn messages(
    config: &Config,
    channel: &RpcChannel,
    clock: Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> Result<(Messages, Check)> {
    let peers = messenger_message::Peers { conversation: ConversationServiceClient::new(channel.clone()) };
    let store = messenger_message::open_store(&config.store.location()?).await?;
    let bus = messenger_message::open_bus(&config.bus()?, &*store).await?;
    let messages = messenger_message::build(store.clone(), bus, peers, clock, shutdown).await?;
    Ok((messages, messenger_message::check(store)))
}

/// A yes if all say yes.
fn all(checks: [Check; 3]) -> Check {
    Box::new(move || {
        let answers = checks.each_ref().map(|check| check());
        Box::pin(async move {
            for answer in answers {
                answer.await?;
            }
            Ok(())
        })
    })
}
