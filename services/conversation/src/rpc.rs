//! The service as gRPC has it: decode, one domain call, encode.

use std::sync::Arc;

use messenger_core::{
    Error, Result, UserId,
    content::short_text,
    limits::{GROUP_NAME_CHARS_MAX, PAGE_ROWS_MAX, USERS_PER_REQUEST_MAX},
    page::PageSize,
};
use messenger_proto::conversation::v1::{
    AddParticipantsRequest, AddParticipantsResponse, BatchGetConversationsRequest, BatchGetConversationsResponse,
    CreateGroupRequest, CreateGroupResponse, GetConversationRequest, GetConversationResponse, GetOrCreateP2pRequest,
    GetOrCreateP2pResponse, ListConversationsRequest, ListConversationsResponse, ListParticipantsRequest,
    ListParticipantsResponse, RemoveParticipantRequest, RemoveParticipantResponse, UpdateConversationRequest,
    UpdateConversationResponse, UpdateParticipantRequest, UpdateParticipantResponse,
    conversation_service_server::ConversationService,
};
use messenger_rpc::{Caller, SendLimits, SendRates, convert::from_proto_role, to_status};
use tonic::{Request, Response, Status};

use crate::{
    conversations::Conversations,
    convert::{conversation_id, cut, ids, participant, participants, some_users, token_id, user_id, view, views},
    model::{Expected, GroupKey, GroupUpdate, NewGroup},
};

/// Serves [`Conversations`].
pub struct Rpc {
    conversations: Arc<Conversations>,
    /// Of end users: what services ask for was counted at the edge.
    changes: SendLimits,
}

impl Rpc {
    /// Serves these.
    #[must_use]
    pub fn new(conversations: Arc<Conversations>, rates: Option<SendRates>) -> Self {
        Self { conversations, changes: SendLimits::new(rates) }
    }

    /// Counts a conversation that is made.
    fn count<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Ok(Caller::User(user)) = Caller::of(request) else { return Ok(()) };
        self.changes.create(user.user_id).map_err(to_status)
    }

    /// Counts a change of a conversation, and answers as [`Self::answer`].
    async fn change<Asked, Answer, Work>(
        &self,
        request: Request<Asked>,
        of: impl FnOnce(&Asked) -> &str,
        work: impl FnOnce(Arc<Conversations>, UserId, Asked) -> Work,
    ) -> Result<Response<Answer>, Status>
    where
        Work: Future<Output = Result<Answer, Error>>,
    {
        let Ok(Caller::User(user)) = Caller::of(&request) else { return self.answer(request, work).await };
        let changed = (user.user_id, conversation_id(of(request.get_ref())).map_err(to_status)?);
        let counted =
            async |conversations, caller, asked| self.changes.change(changed, work(conversations, caller, asked)).await;
        self.answer(request, counted).await
    }

    /// Names the caller. The work outlives one who leaves, as every call's does: no database future is dropped.
    async fn answer<Asked, Answer, Work>(
        &self,
        request: Request<Asked>,
        work: impl FnOnce(Arc<Conversations>, UserId, Asked) -> Work,
    ) -> Result<Response<Answer>, Status>
    where
        Work: Future<Output = Result<Answer, Error>>,
    {
        let caller = Caller::of(&request).and_then(|caller| caller.user_id()).map_err(to_status)?;
        let work = work(Arc::clone(&self.conversations), caller, request.into_inner());
        work.await.map(Response::new).map_err(to_status)
    }
}

fn expected(id: &str, version: Option<i64>) -> Result<Expected, Error> {
    Ok(Expected { id: conversation_id(id)?, version })
}

#[tonic::async_trait]
impl ConversationService for Rpc {
    async fn get_or_create_p2p(
        &self,
        request: Request<GetOrCreateP2pRequest>,
    ) -> Result<Response<GetOrCreateP2pResponse>, Status> {
        self.count(&request)?;
        self.answer(request, |conversations, caller, asked| async move {
            let other = user_id(&asked.user_id)?;
            let (found, created) = conversations.get_or_create_p2p(caller, other).await?;
            Ok(GetOrCreateP2pResponse { conversation: Some(view(found)), created })
        })
        .await
    }

    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        self.count(&request)?;
        self.answer(request, |conversations, caller, asked| async move {
            let name = short_text("name", &asked.name, GROUP_NAME_CHARS_MAX)?;
            let members = ids("memberIds", &asked.member_ids, USERS_PER_REQUEST_MAX)?;
            let key = asked.client_group_id.as_deref().map(GroupKey::new).transpose()?;
            let group = NewGroup { name, is_restricted: asked.is_restricted, members, key };
            let made = conversations.create_group(caller, group).await?;
            Ok(CreateGroupResponse { conversation: Some(view(made)) })
        })
        .await
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        self.answer(request, |conversations, caller, asked| async move {
            let found = conversations.view(caller, conversation_id(&asked.conversation_id)?).await?;
            Ok(GetConversationResponse { conversation: Some(view(found)) })
        })
        .await
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        self.answer(request, |conversations, caller, asked| async move {
            let page = PageSize::new(asked.page_size)?;
            let rows = conversations.list(caller, token_id(&asked.page_token)?, page).await?;
            let (rows, next_page_token) = cut(rows, page, |row| row.conversation.id);
            Ok(ListConversationsResponse { conversations: views(rows), next_page_token })
        })
        .await
    }

    async fn batch_get_conversations(
        &self,
        request: Request<BatchGetConversationsRequest>,
    ) -> Result<Response<BatchGetConversationsResponse>, Status> {
        self.answer(request, |conversations, caller, asked| async move {
            let asked = ids("conversationIds", &asked.conversation_ids, PAGE_ROWS_MAX as usize)?;
            let found = conversations.views(caller, &asked).await?;
            Ok(BatchGetConversationsResponse { conversations: views(found) })
        })
        .await
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        self.change(
            request,
            |asked| &asked.conversation_id,
            |conversations, caller, asked| async move {
                let expected = expected(&asked.conversation_id, asked.expected_version)?;
                let name = asked.name.map(|name| short_text("name", &name, GROUP_NAME_CHARS_MAX)).transpose()?;
                let update = GroupUpdate { name, is_restricted: asked.is_restricted };
                let updated = conversations.update(caller, expected, update).await?;
                Ok(UpdateConversationResponse { conversation: Some(view(updated)) })
            },
        )
        .await
    }

    async fn add_participants(
        &self,
        request: Request<AddParticipantsRequest>,
    ) -> Result<Response<AddParticipantsResponse>, Status> {
        self.change(
            request,
            |asked| &asked.conversation_id,
            |conversations, caller, asked| async move {
                let expected = expected(&asked.conversation_id, asked.expected_version)?;
                let users = some_users("userIds", &asked.user_ids)?;
                let added = conversations.add_participants(caller, expected, users).await?;
                Ok(AddParticipantsResponse { participants: participants(added) })
            },
        )
        .await
    }

    async fn update_participant(
        &self,
        request: Request<UpdateParticipantRequest>,
    ) -> Result<Response<UpdateParticipantResponse>, Status> {
        self.change(
            request,
            |asked| &asked.conversation_id,
            |conversations, caller, asked| async move {
                let expected = expected(&asked.conversation_id, asked.expected_version)?;
                let (user, role) = (user_id(&asked.user_id)?, from_proto_role(asked.role)?);
                let updated = conversations.update_participant(caller, expected, user, role).await?;
                Ok(UpdateParticipantResponse { participant: Some(participant(updated)) })
            },
        )
        .await
    }

    async fn remove_participant(
        &self,
        request: Request<RemoveParticipantRequest>,
    ) -> Result<Response<RemoveParticipantResponse>, Status> {
        self.change(
            request,
            |asked| &asked.conversation_id,
            |conversations, caller, asked| async move {
                let expected = expected(&asked.conversation_id, asked.expected_version)?;
                conversations.remove_participant(caller, expected, user_id(&asked.user_id)?).await?;
                Ok(RemoveParticipantResponse {})
            },
        )
        .await
    }

    async fn list_participants(
        &self,
        request: Request<ListParticipantsRequest>,
    ) -> Result<Response<ListParticipantsResponse>, Status> {
        self.answer(request, |conversations, caller, asked| async move {
            let (conversation, page) = (conversation_id(&asked.conversation_id)?, PageSize::new(asked.page_size)?);
            let rows = conversations.participants(caller, conversation, token_id(&asked.page_token)?, page).await?;
            let (rows, next_page_token) = cut(rows, page, |row| row.user_id);
            Ok(ListParticipantsResponse { participants: participants(rows), next_page_token })
        })
        .await
    }
}
