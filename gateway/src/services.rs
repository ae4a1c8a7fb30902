//! The clients of the three services, remote or in process: nobody here asks which.

use messenger_proto::{
    auth::v1::auth_service_client::AuthServiceClient,
    conversation::v1::conversation_service_client::ConversationServiceClient,
    message::v1::message_service_client::MessageServiceClient,
};
use messenger_rpc::RpcChannel;

/// Largest answer read from a service, bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One client per service; a clone shares the connection.
#[derive(Clone)]
pub struct Services {
    /// Users, sessions and tokens.
    pub auth: AuthServiceClient<RpcChannel>,
    /// Conversations and participants.
    pub conversation: ConversationServiceClient<RpcChannel>,
    /// The journal, history and the feed.
    pub message: MessageServiceClient<RpcChannel>,
}

impl Services {
    /// Clients over these channels, with answers bounded to 4 MiB.
    #[must_use]
    pub fn new(auth: RpcChannel, conversation: RpcChannel, message: RpcChannel) -> Self {
        Self {
            auth: AuthServiceClient::new(auth).max_decoding_message_size(ANSWER_BYTES_MAX),
            conversation: ConversationServiceClient::new(conversation).max_decoding_message_size(ANSWER_BYTES_MAX),
            message: MessageServiceClient::new(message).max_decoding_message_size(ANSWER_BYTES_MAX),
        }
    }
}
