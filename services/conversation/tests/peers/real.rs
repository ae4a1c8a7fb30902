//! All three services in one process, each reached by the others as in the standalone binary.

use std::sync::Arc;

use messenger_bus::LocalBus;
use messenger_core::{SystemClock, UserId};
use messenger_db::Location;
use messenger_proto::{
    auth::v1::{RegisterRequest, auth_service_client::AuthServiceClient},
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::{Draft, SendMessageRequest, draft::Target, message_service_client::MessageServiceClient},
};
use messenger_rpc::{RpcChannel, ServerAuth, Service, Trust, request_as};
use messenger_telemetry::Shutdown;
use tonic::Status;

use super::{
    Journal, Wire,
    process::{Process, user},
};

/// The three services; `process` is this one.
pub struct Trio {
    pub process: Process,
    auth: AuthServiceClient<RpcChannel>,
    message: MessageServiceClient<RpcChannel>,
    pub shutdown: Shutdown,
}

impl Trio {
    pub async fn start(location: &Location) -> Self {
        let (clock, shutdown) = (Arc::new(SystemClock), Shutdown::new());
        let (auth_channel, auth_slot) = RpcChannel::in_process(Service::Gateway);
        let (conversation_channel, conversation_slot) = RpcChannel::in_process(Service::Gateway);
        let (message_channel, message_slot) = RpcChannel::in_process(Service::Gateway);
        let of_conversation = message_channel.shown_by(Service::Conversation);
        let auth = AuthServiceClient::new(auth_channel);
        let client = ConversationServiceClient::new(conversation_channel);
        let message = MessageServiceClient::new(message_channel);

        let store = messenger_auth::open_store(location).await.expect("opens");
        let built = messenger_auth::build(&messenger_auth::TokenConfig::default(), store, clock.clone()).await;
        let users = built.expect("auth starts");
        users.start(&shutdown);
        let server_auth = ServerAuth { verifier: users.verifier(), trust: Trust::certificates() };
        auth_slot.fill(users.routes(Trust::certificates(), &shutdown));

        let store = messenger_message::open_store(location).await.expect("opens");
        let (bus, peers) = (Arc::new(LocalBus::new()), messenger_message::Peers { conversation: client.clone() });
        let built = messenger_message::build(store, bus, peers, clock.clone(), &shutdown).await;
        message_slot.fill(built.expect("message starts").routes(server_auth.clone(), None));

        let store = messenger_conversation::open_store(location).await.expect("opens");
        let peers =
            messenger_conversation::Peers { auth: auth.clone(), message: MessageServiceClient::new(of_conversation) };
        let conversations = messenger_conversation::build(store, peers, clock);
        conversations.start(&shutdown);
        conversation_slot.fill(conversations.routes(server_auth, None));
        let process = Process { client, conversations, wire: Wire::new(&Journal::new()), expected_version: None };
        Self { process, auth, message, shutdown }
    }

    pub async fn register(&self) -> UserId {
        let request = RegisterRequest {
            email: format!("{}@example.org", user()),
            password: "correct horse".to_owned(),
            full_name: "Ann".to_owned(),
            ..RegisterRequest::default()
        };
        let registered = self.auth.clone().register(request).await.expect("registered").into_inner();
        UserId::parse("id", &registered.user.expect("the user").id).expect("an id")
    }

    /// The conversation's id.
    pub async fn send(&self, sender: UserId, target: Target) -> Result<String, Status> {
        let draft = Draft { target: Some(target), content: "hello".to_owned(), ..Draft::default() };
        let request = request_as(sender, SendMessageRequest { draft: Some(draft) });
        let stored = self.message.clone().send_message(request).await?.into_inner();
        Ok(stored.message.expect("the message").conversation_id)
    }
}
