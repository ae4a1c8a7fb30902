//! The service as one process has it, reached as other services reach it.

use std::sync::Arc;

use messenger_conversation::{Conversations, Peers, build};
use messenger_core::{ErrorKind, SystemClock, UserId};
use messenger_db::Location;
use messenger_identity::{TokenRules, Verifier};
use messenger_proto::{
    conversation::v1::{self as proto, conversation_service_client::ConversationServiceClient},
    event::v1::{Participant, Role},
};
use messenger_rpc::{RpcChannel, ServerAuth, Service, Trust, from_status, request_as};
use tonic::Status;
use uuid::Uuid;

use super::{Journal, Wire, auth};
use crate::support::open;

/// One process of the service.
#[derive(Clone)]
pub struct Process {
    pub client: ConversationServiceClient<RpcChannel>,
    pub conversations: Arc<Conversations>,
    pub wire: Wire,
    /// Named in every change.
    pub expected_version: Option<i64>,
}

/// Auth does not know this one.
pub const NOBODY: UserId = UserId::from_uuid(Uuid::from_u128(0xdead));

pub fn user() -> UserId {
    UserId::from_uuid(Uuid::new_v4())
}

pub fn kind<T>(result: Result<T, Status>) -> Option<ErrorKind> {
    result.err().map(|status| from_status(&status).kind())
}

impl Process {
    pub async fn start(location: &Location, journal: &Journal) -> Self {
        let wire = Wire::new(journal);
        let peers = Peers { auth: auth(NOBODY), message: wire.client() };
        let clock = Arc::new(SystemClock);
        let conversations = build(open(location).await, peers, clock.clone());
        let (channel, slot) = RpcChannel::in_process(Service::Gateway);
        let verifier = Arc::new(Verifier::new(TokenRules::default(), clock));
        slot.fill(conversations.routes(ServerAuth { verifier, trust: Trust::certificates() }, None));
        Self { client: ConversationServiceClient::new(channel), conversations, wire, expected_version: None }
    }

    /// The same, whose changes are meant for this version.
    pub fn expecting(&self, version: i64) -> Self {
        Self { expected_version: Some(version), ..self.clone() }
    }

    pub async fn p2p(&self, caller: UserId, other: UserId) -> Result<proto::GetOrCreateP2pResponse, Status> {
        let request = proto::GetOrCreateP2pRequest { user_id: other.to_string() };
        Ok(self.client.clone().get_or_create_p2p(request_as(caller, request)).await?.into_inner())
    }

    /// The group's id.
    pub async fn group(&self, caller: UserId, members: &[UserId], is_restricted: bool) -> Result<String, Status> {
        let member_ids = members.iter().map(UserId::to_string).collect();
        self.create(
            caller,
            proto::CreateGroupRequest { name: "group".to_owned(), is_restricted, member_ids, ..Default::default() },
        )
        .await
    }

    /// The group's id.
    pub async fn create(&self, caller: UserId, request: proto::CreateGroupRequest) -> Result<String, Status> {
        let made = self.client.clone().create_group(request_as(caller, request)).await?.into_inner();
        Ok(made.conversation.and_then(|view| view.conversation).expect("the group").id)
    }

    pub async fn view(&self, caller: UserId, id: &str) -> Result<proto::ConversationView, Status> {
        let request = proto::GetConversationRequest { conversation_id: id.to_owned() };
        let found = self.client.clone().get_conversation(request_as(caller, request)).await?.into_inner();
        Ok(found.conversation.expect("the conversation"))
    }

    pub async fn update(
        &self,
        caller: UserId,
        id: &str,
        name: Option<&str>,
        is_restricted: Option<bool>,
    ) -> Result<proto::ConversationView, Status> {
        let name = name.map(str::to_owned);
        let request = proto::UpdateConversationRequest {
            conversation_id: id.to_owned(),
            name,
            is_restricted,
            expected_version: self.expected_version,
        };
        let updated = self.client.clone().update_conversation(request_as(caller, request)).await?.into_inner();
        Ok(updated.conversation.expect("the conversation"))
    }

    pub async fn add(&self, caller: UserId, id: &str, users: &[UserId]) -> Result<Vec<Participant>, Status> {
        let user_ids = users.iter().map(UserId::to_string).collect();
        let request = proto::AddParticipantsRequest {
            conversation_id: id.to_owned(),
            user_ids,
            expected_version: self.expected_version,
        };
        Ok(self.client.clone().add_participants(request_as(caller, request)).await?.into_inner().participants)
    }

    pub async fn give(&self, caller: UserId, id: &str, user: UserId, role: Role) -> Result<Participant, Status> {
        let (conversation_id, user_id) = (id.to_owned(), user.to_string());
        let request = proto::UpdateParticipantRequest {
            conversation_id,
            user_id,
            role: role.into(),
            expected_version: self.expected_version,
        };
        let updated = self.client.clone().update_participant(request_as(caller, request)).await?.into_inner();
        Ok(updated.participant.expect("the participant"))
    }

    pub async fn remove(&self, caller: UserId, id: &str, user: UserId) -> Result<(), Status> {
        let request = proto::RemoveParticipantRequest {
            conversation_id: id.to_owned(),
            user_id: user.to_string(),
            expected_version: self.expected_version,
        };
        self.client.clone().remove_participant(request_as(caller, request)).await.map(drop)
    }

    pub async fn participants(
        &self,
        caller: UserId,
        id: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<proto::ListParticipantsResponse, Status> {
        let (conversation_id, page_token) = (id.to_owned(), page_token.to_owned());
        let request = proto::ListParticipantsRequest { conversation_id, page_size, page_token };
        Ok(self.client.clone().list_participants(request_as(caller, request)).await?.into_inner())
    }
}
