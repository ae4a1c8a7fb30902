//! The gRPC server: decodes, asks the domain once, encodes.

use messenger_core::{ConversationId, Error, MessageId, Result, UserId, limits, page::PageSize};
use messenger_proto::message::v1::{
    AppendChangesRequest, AppendChangesResponse, BatchGetConversationStatesRequest, BatchGetConversationStatesResponse,
    FollowRequest, FollowResponse, GetMessageRequest, GetMessageResponse, ListConversationsRequest,
    ListConversationsResponse, ListMessagesRequest, ListMessagesResponse, ListReadPositionsRequest,
    ListReadPositionsResponse, MarkReadRequest, MarkReadResponse, ReplayRequest, ReplayResponse, SendMessageRequest,
    SendMessageResponse, SendMessagesRequest, SendMessagesResponse, SubscribeRequest, SubscribeResponse,
    mark_read_request::UpTo,
    message_service_server::{MessageService, MessageServiceServer},
};
use messenger_rpc::{Caller, MESSAGE_BYTES_MAX, SendLimits, SendRates, ServerAuth, TraceParent, timestamp, to_status};
use tonic::{
    Request, Response, Status, Streaming,
    service::{Routes, RoutesBuilder},
};
use tracing::Span;

use crate::{
    convert::{self, Provenance},
    feed::Follower,
    messages::Messages,
    model::{ChangeSet, Draft, DraftOutcome, ReadUpTo, Target},
    pieces::{fitting, message_bytes, state_bytes},
    replay::{LeftOut, PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX},
    streams::{self, Answers, InboundDrafts},
};

/// Changes of one call.
const CHANGES_MAX: usize = 100;
/// Conversations or users named in one call.
const IDS_MAX: usize = 100;
/// Conversations left out of a replay: all a user can have.
const EXCLUDED_MAX: usize = limits::CONVERSATIONS_PER_USER_MAX as usize;

impl Messages {
    /// The generated server behind authentication. Serve it, or put it in an in-process slot, or both.
    #[must_use]
    pub fn routes(&self, auth: ServerAuth, rates: Option<SendRates>) -> Routes {
        messenger_rpc::routes(auth, |routes| self.add_to(routes, rates))
    }

    /// Adds the generated server to others, for one layer of authentication in front of all. With these rates for end
    /// users who send by gRPC themselves.
    pub fn add_to(&self, routes: &mut RoutesBuilder, rates: Option<SendRates>) {
        let rpc = Rpc { messages: self.clone(), sends: SendLimits::new(rates) };
        routes.add_service(MessageServiceServer::new(rpc).max_decoding_message_size(MESSAGE_BYTES_MAX));
    }
}

/// The server of `messenger.message.v1`.
struct Rpc {
    messages: Messages,
    /// Of end users: what services send was counted at the edge.
    sends: SendLimits,
}

impl Rpc {
    /// Counts what an end user sends.
    async fn send_counted(&self, target: Target, draft: Draft) -> DraftOutcome {
        let (sender, send) = (draft.sender_id, self.messages.send(target, draft));
        match target {
            Target::Receiver(receiver) => {
                self.sends.send_to_user(sender, receiver)?;
                send.await
            }
            Target::Group(conversation) | Target::Conversation(conversation) => {
                self.sends.send((sender, conversation), send, |sent| sent.repeated).await
            }
        }
    }

    async fn send_one(&self, caller: Caller, request: SendMessageRequest) -> Result<SendMessageResponse> {
        let user = caller.user_id()?;
        let draft = request.draft.ok_or_else(|| Error::invalid("draft", "is missing"))?;
        let message_id = self.messages.new_message_id();
        let trace = TraceParent::of(&Span::current());
        let from = Provenance { sender_id: user, message_id, resent: false, origin: 0, trace };
        let (target, draft) = convert::draft(&draft, from)?;
        let stored = match caller {
            Caller::User(_) => self.send_counted(target, draft).await?,
            Caller::Service { .. } => self.messages.send(target, draft).await?,
        };
        Ok(SendMessageResponse { message: Some(convert::message(&stored.message)), repeated: stored.repeated })
    }

    async fn get_one(&self, user: UserId, request: GetMessageRequest) -> Result<GetMessageResponse> {
        let conversation = ConversationId::parse("conversationId", &request.conversation_id)?;
        let message = MessageId::parse("messageId", &request.message_id)?;
        let found = self.messages.store.message(user, conversation, message).await?;
        let found = found.ok_or_else(|| Error::not_found("no such message"))?;
        Ok(GetMessageResponse { message: Some(convert::message(&found)) })
    }

    async fn list(&self, user: UserId, request: ListMessagesRequest) -> Result<ListMessagesResponse> {
        let conversation = ConversationId::parse("conversationId", &request.conversation_id)?;
        let rows = PageSize::new(request.page_size)?;
        let from = convert::history_from(request.from)?;
        let page = self.messages.store.history(user, conversation, from, rows).await?;
        let fit = fitting(&page.messages, message_bytes);
        let messages = page.messages[..fit].iter().map(convert::message).collect();
        Ok(ListMessagesResponse { messages, has_more: page.has_more || fit < page.messages.len() })
    }

    async fn list_states(&self, user: UserId, request: ListConversationsRequest) -> Result<ListConversationsResponse> {
        let rows = PageSize::new(request.page_size)?;
        let after = convert::from_list_token(&request.page_token)?;
        let states = self.messages.store.conversations(user, after, rows).await?;
        let fit = fitting(&states, state_bytes).min(rows.rows() as usize);
        let next = if fit < states.len() { states[..fit].last().map(convert::list_token) } else { None };
        let conversations = states[..fit].iter().map(convert::state).collect();
        Ok(ListConversationsResponse { conversations, next_page_token: next.unwrap_or_default() })
    }

    async fn get_states(
        &self,
        user: UserId,
        request: BatchGetConversationStatesRequest,
    ) -> Result<BatchGetConversationStatesResponse> {
        let conversations = convert::ids("conversationIds", &request.conversation_ids, IDS_MAX)?;
        let mut states = self.messages.store.states(user, &conversations).await?;
        // Every state is wanted: of an answer too large, the last messages at its end are left away.
        let fit = fitting(&states, state_bytes);
        states[fit..].iter_mut().for_each(|state| state.last_message = None);
        Ok(BatchGetConversationStatesResponse { conversations: states.iter().map(convert::state).collect() })
    }

    async fn list_read(&self, user: UserId, request: ListReadPositionsRequest) -> Result<ListReadPositionsResponse> {
        let conversation = ConversationId::parse("conversationId", &request.conversation_id)?;
        let users = convert::ids("userIds", &request.user_ids, IDS_MAX)?;
        let read = self.messages.store.read_positions(user, conversation, &users).await?;
        Ok(ListReadPositionsResponse { read_positions: read.iter().map(convert::read_position).collect() })
    }

    async fn read(&self, user: UserId, request: MarkReadRequest) -> Result<MarkReadResponse> {
        let conversation = ConversationId::parse("conversationId", &request.conversation_id)?;
        let up_to = match request.up_to {
            Some(UpTo::MessageId(id)) => ReadUpTo::Message(MessageId::parse("messageId", &id)?),
            Some(UpTo::Seq(seq)) if seq >= 0 => ReadUpTo::Seq(seq),
            Some(UpTo::Seq(_)) => return Err(Error::invalid("seq", "must not be negative")),
            None => return Err(Error::invalid("messageId", "or seq is needed")),
        };
        let read = self.messages.mark_read(user, conversation, up_to, request.origin).await?;
        Ok(MarkReadResponse {
            last_read_seq: read.read_seq,
            last_read_at: read.read_at.map(timestamp),
            unread_count: read.last_seq - read.read_seq,
        })
    }

    async fn replay_page(&self, user: UserId, request: ReplayRequest) -> Result<ReplayResponse> {
        let entries = match u32::try_from(request.page_size) {
            Ok(0) => PAGE_ENTRIES_DEFAULT,
            Ok(entries) if entries <= PAGE_ENTRIES_MAX => entries,
            _ => return Err(Error::invalid("limit", format!("must be 1 to {PAGE_ENTRIES_MAX}"))),
        };
        let replays = &self.messages.replays;
        let after = replays.position(&request.cursor)?;
        let left_out = if request.first_page {
            LeftOut::Unknown
        } else {
            let excluded = &request.excluded_conversation_ids;
            LeftOut::Conversations(convert::ids("excludedConversationIds", excluded, EXCLUDED_MAX)?)
        };
        let replayed = replays.page(user, after, left_out, entries).await?;
        let page = replayed.page;
        Ok(ReplayResponse {
            entries: page.entries.iter().map(convert::entry).collect(),
            cursor: self.messages.feed.cursor(page.complete_to).encode(),
            position: page.complete_to.0,
            has_more: page.has_more,
            limited: replayed.limited.iter().map(convert::limited).collect(),
        })
    }

    async fn append(&self, request: AppendChangesRequest) -> Result<AppendChangesResponse> {
        if request.changes.is_empty() || request.changes.len() > CHANGES_MAX {
            return Err(Error::invalid("changes", format!("must be 1 to {CHANGES_MAX}")));
        }
        let changes = request.changes.into_iter().map(convert::change).collect::<Result<_>>()?;
        let version = self.messages.journal.append_changes(ChangeSet(changes)).await?;
        Ok(AppendChangesResponse { version })
    }
}

/// The user a request is made for, and the request itself.
fn for_user<T>(request: Request<T>) -> Result<(UserId, T), Status> {
    let user = Caller::of(&request).and_then(|caller| caller.user_id()).map_err(to_status)?;
    Ok((user, request.into_inner()))
}

fn answer<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(to_status)
}

#[tonic::async_trait]
impl MessageService for Rpc {
    type SendMessagesStream = Answers<SendMessagesResponse>;
    type SubscribeStream = Answers<SubscribeResponse>;
    type FollowStream = Answers<FollowResponse>;

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let caller = Caller::of(&request).map_err(to_status)?;
        answer(self.send_one(caller, request.into_inner()).await)
    }

    async fn send_messages(
        &self,
        request: Request<Streaming<SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        let requests = request.into_inner();
        let outcomes = self.messages.pipes.open(InboundDrafts::new(requests));
        Ok(Response::new(streams::outcomes(outcomes)))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.get_one(user, request).await)
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.list(user, request).await)
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.list_states(user, request).await)
    }

    async fn batch_get_conversation_states(
        &self,
        request: Request<BatchGetConversationStatesRequest>,
    ) -> Result<Response<BatchGetConversationStatesResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.get_states(user, request).await)
    }

    async fn list_read_positions(
        &self,
        request: Request<ListReadPositionsRequest>,
    ) -> Result<Response<ListReadPositionsResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.list_read(user, request).await)
    }

    async fn mark_read(&self, request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.read(user, request).await)
    }

    async fn replay(&self, request: Request<ReplayRequest>) -> Result<Response<ReplayResponse>, Status> {
        let (user, request) = for_user(request)?;
        answer(self.replay_page(user, request).await)
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let ended = Caller::ended(&request);
        let (user, request) = for_user(request)?;
        let subscription = self.messages.replays.subscribe(user, &request.cursor).await.map_err(to_status)?;
        Ok(Response::new(streams::subscribed(subscription, self.messages.feed.clone(), ended)))
    }

    async fn follow(&self, request: Request<Streaming<FollowRequest>>) -> Result<Response<Self::FollowStream>, Status> {
        let requests = request.into_inner();
        let Follower { asks, events } = self.messages.feed.follow().await.map_err(to_status)?;
        self.messages.shutdown.spawn(streams::follow_asked(requests, asks));
        Ok(Response::new(streams::followed(events, self.messages.feed.journal())))
    }

    async fn append_changes(
        &self,
        request: Request<AppendChangesRequest>,
    ) -> Result<Response<AppendChangesResponse>, Status> {
        answer(self.append(request.into_inner()).await)
    }
}
