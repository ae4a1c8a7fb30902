//! Where a draft goes: the P2P conversation of two users is looked up, and made by conversation if there is none.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use messenger_core::{Cache, ConversationId, Error, Result, UserId};
use messenger_proto::conversation::v1::{
    GetOrCreateP2pRequest, conversation_service_client::ConversationServiceClient,
};
use messenger_rpc::RpcChannel;
use tokio::sync::Semaphore;

use crate::{
    model::{Draft, ResolvedDraft, Target},
    store::Store,
};

/// Pairs of users whose conversation is remembered while they write, and at most twice as many.
const PAIRS_REMEMBERED_MAX: usize = 50_000;
/// Conversations being made at once.
const CREATIONS_MAX: usize = 64;
const CREATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Who writes to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The one who writes; a conversation is made in its name.
    pub sender: UserId,
    /// The other one.
    pub receiver: UserId,
}

impl Pair {
    /// The same for both directions.
    fn key(self) -> (UserId, UserId) {
        (self.sender.min(self.receiver), self.sender.max(self.receiver))
    }
}

/// Finds the conversation of a pair.
pub struct Targets {
    store: Arc<dyn Store>,
    conversation: ConversationServiceClient<RpcChannel>,
    remembered: Mutex<Cache<(UserId, UserId), ConversationId>>,
    creations: Semaphore,
}

impl Targets {
    /// With nothing remembered.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, conversation: ConversationServiceClient<RpcChannel>) -> Self {
        let remembered = Mutex::new(Cache::new(PAIRS_REMEMBERED_MAX));
        Self { store, conversation, remembered, creations: Semaphore::new(CREATIONS_MAX) }
    }

    /// The conversation when it is remembered. A pair keeps its conversation for ever, so this is never stale.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a message to oneself.
    pub fn remembered(&self, pair: Pair) -> Result<Option<ConversationId>> {
        if pair.sender == pair.receiver {
            return Err(Error::invalid("receiverId", "must be another user"));
        }
        Ok(self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&pair.key()))
    }

    /// The conversations the projection has.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn find(&self, pairs: &[Pair]) -> Result<Vec<Option<ConversationId>>> {
        let keys: Vec<_> = pairs.iter().map(|pair| pair.key()).collect();
        let found = self.store.find_p2p(&keys).await?;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, conversation) in keys.into_iter().zip(&found) {
            if let Some(conversation) = conversation {
                remembered.insert(key, *conversation);
            }
        }
        Ok(found)
    }

    /// Has conversation make it (or find it); answered when the journal holds it.
    ///
    /// # Errors
    /// NOT_FOUND when there is no such user; UNAVAILABLE.
    pub async fn create(&self, pair: Pair) -> Result<ConversationId> {
        let _permit = self.creations.acquire().await.map_err(Error::internal)?;
        let message = GetOrCreateP2pRequest { user_id: pair.receiver.to_string() };
        let mut request = messenger_rpc::request_as(pair.sender, message);
        messenger_rpc::with_deadline(&mut request, CREATION_TIMEOUT);
        let answer = self.conversation.clone().get_or_create_p2p(request).await;
        let answer = answer.map_err(|status| messenger_rpc::from_status(&status))?.into_inner();
        let conversation = answer.conversation.and_then(|view| view.conversation).map(|found| found.id);
        let conversation = conversation.ok_or_else(|| Error::internal("conversation answered without one"))?;
        let conversation = ConversationId::parse("conversationId", &conversation).map_err(Error::internal)?;
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(pair.key(), conversation);
        Ok(conversation)
    }

    /// The conversation of one draft, wherever it has to come from.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a message to oneself, NOT_FOUND when there is no such user, UNAVAILABLE.
    pub async fn resolve(&self, target: Target, draft: Draft) -> Result<ResolvedDraft> {
        let conversation = match target {
            Target::Group(id) | Target::Conversation(id) => id,
            Target::Receiver(receiver) => self.p2p(Pair { sender: draft.sender_id, receiver }).await?,
        };
        Ok(draft.resolved(target, conversation))
    }

    async fn p2p(&self, pair: Pair) -> Result<ConversationId> {
        if let Some(conversation) = self.remembered(pair)? {
            return Ok(conversation);
        }
        match self.find(&[pair]).await?.pop().flatten() {
            Some(conversation) => Ok(conversation),
            None => self.create(pair).await,
        }
    }
}
