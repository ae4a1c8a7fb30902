//! Conversations: made, found, changed. Their participants are in `participants.rs`.

use std::sync::Arc;

use messenger_core::{
    Clock, ConversationId, ConversationType, Error, ErrorKind, ParticipantId, Result, Role, Timestamp, UserId,
    page::PageSize,
};
use messenger_telemetry::{Audit, AuditLimit};

use crate::{
    convert,
    model::{
        Change, Conversation, ConversationView, Expected, FoundP2p, GroupRequest, GroupUpdate, NewGroup, Pair,
        Participant,
    },
    outbox::Outbox,
    policy::{self, Action},
    store::{Store, Transaction},
    users::Users,
};

/// All conversations. A change is answered only when the journal has it; UNAVAILABLE means it may be recorded and is
/// then completed later, and asking again is harmless.
pub struct Conversations {
    pub(crate) store: Store,
    pub(crate) users: Users,
    pub(crate) outbox: Outbox,
    pub(crate) clock: Arc<dyn Clock>,
    /// Of changes.
    pub(crate) refusals: AuditLimit,
}

impl Conversations {
    /// The conversations in `store`, of the users auth knows.
    #[must_use]
    pub(crate) fn new(store: Store, users: Users, outbox: Outbox, clock: Arc<dyn Clock>) -> Self {
        Self { store, users, outbox, clock, refusals: AuditLimit::default() }
    }

    /// The caller's conversation with another user, and whether it is new. Costs one read when it exists.
    ///
    /// # Errors
    /// VALIDATION_FAILED for oneself and over the conversations a user may have, NOT_FOUND when there is no such user.
    pub(crate) async fn get_or_create_p2p(&self, caller: UserId, other: UserId) -> Result<(ConversationView, bool)> {
        let pair = Pair::new(caller, other)?;
        if let Some(found) = self.store.find_p2p(pair).await? {
            return Ok((self.found(found, other).await?, false));
        }
        self.users.check_exist(caller, &[pair.low, pair.high]).await?;
        if let Some(conversation) = self.create_p2p(pair).await? {
            self.outbox.deliver(conversation.id).await?;
            return Ok((p2p_view(conversation, other), true));
        }
        let found = self.store.find_p2p(pair).await?;
        let found = found.ok_or_else(|| Error::internal("a claimed pair has no conversation"))?;
        Ok((self.found(found, other).await?, false))
    }

    async fn found(&self, found: FoundP2p, other: UserId) -> Result<ConversationView> {
        if !found.is_delivered {
            self.outbox.deliver(found.conversation.id).await?;
        }
        Ok(p2p_view(found.conversation, other))
    }

    /// None when somebody else was first.
    async fn create_p2p(&self, pair: Pair) -> Result<Option<Conversation>> {
        let conversation = self.new_conversation(ConversationType::P2p, String::new(), false);
        let mut tx = self.store.begin().await?;
        if !tx.claim_p2p(pair, conversation.id).await? {
            tx.rollback().await?;
            return Ok(None);
        }
        let participants = [pair.low, pair.high].map(|user| new_participant(&conversation, user, Role::Member));
        create(tx, conversation, participants.into()).await.map(Some)
    }

    /// A new group: the caller is ADMIN, the members are MEMBER. With a key, a repeat answers the group there is.
    ///
    /// # Errors
    /// NOT_FOUND when there is no such user (of a repeat: when the caller takes no part any more), GROUP_FULL,
    /// VALIDATION_FAILED over the conversations a user may have, IDEMPOTENCY_KEY_REUSED when the key made another group.
    pub(crate) async fn create_group(&self, caller: UserId, asked: NewGroup) -> Result<ConversationView> {
        let request = asked.request(caller);
        if let Some(found) = self.found_group(caller, request).await? {
            return Ok(found);
        }
        let others = asked.members.into_iter().filter(|member| *member != caller);
        let users: Vec<UserId> = std::iter::once(caller).chain(others).collect();
        policy::check_group_size(asked.is_restricted, count(&users))?;
        self.users.check_exist(caller, &users).await?;
        let mut conversation = self.new_conversation(ConversationType::Group, asked.name, asked.is_restricted);
        let mut tx = self.store.begin().await?;
        if let Some(request) = request {
            if !tx.claim_group(request).await? {
                tx.rollback().await?;
                let found = self.found_group(caller, Some(request)).await?;
                return found.ok_or_else(|| Error::internal("a claimed group is not there"));
            }
            conversation.id = request.conversation_id;
        }
        let role = |user| if user == caller { Role::Admin } else { Role::Member };
        let participants = users.into_iter().map(|user| new_participant(&conversation, user, role(user))).collect();
        let conversation = create(tx, conversation, participants).await?;
        self.outbox.deliver(conversation.id).await?;
        Ok(ConversationView { conversation, role: Role::Admin, peer: None })
    }

    /// The group a request made before.
    async fn found_group(&self, caller: UserId, request: Option<GroupRequest>) -> Result<Option<ConversationView>> {
        let Some(GroupRequest { conversation_id, digest }) = request else { return Ok(None) };
        let Some(made_by) = self.store.group_request(conversation_id).await? else { return Ok(None) };
        if made_by != digest {
            return Err(Error::new(ErrorKind::IdempotencyKeyReused, "this id was used for another group"));
        }
        self.outbox.deliver(conversation_id).await?;
        self.view(caller, conversation_id).await.map(Some)
    }

    fn new_conversation(&self, conversation_type: ConversationType, name: String, is_restricted: bool) -> Conversation {
        let created_at = self.clock.now();
        let id = ConversationId::new(created_at);
        Conversation { id, conversation_type, name, is_restricted, version: 0, participant_count: 0, created_at }
    }

    /// A conversation as the caller sees it.
    ///
    /// # Errors
    /// NOT_FOUND when the caller takes no part.
    pub(crate) async fn view(&self, caller: UserId, conversation: ConversationId) -> Result<ConversationView> {
        self.store.view(caller, conversation).await?.ok_or_else(policy::no_such_conversation)
    }

    /// Those of the conversations the caller takes part in, in the order of their ids.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub(crate) async fn views(
        &self,
        caller: UserId,
        conversations: &[ConversationId],
    ) -> Result<Vec<ConversationView>> {
        self.store.views(caller, conversations).await
    }

    /// The caller's conversations after the given one in the order of their ids; one more than the page has if there
    /// are more.
    ///
    /// # Errors
    /// UNAVAILABLE, INTERNAL.
    pub(crate) async fn list(
        &self,
        caller: UserId,
        after: Option<ConversationId>,
        page: PageSize,
    ) -> Result<Vec<ConversationView>> {
        self.store.list(caller, after, page).await
    }

    /// Changes name or restriction of a group.
    ///
    /// # Errors
    /// NOT_FOUND, VALIDATION_FAILED (P2P), FORBIDDEN, VERSION_CONFLICT; GROUP_FULL when it has too many participants to
    /// be open.
    pub(crate) async fn update(
        &self,
        caller: UserId,
        expected: Expected,
        update: GroupUpdate,
    ) -> Result<ConversationView> {
        let record = Audit::of("conversation.updated").by(caller).conversation(expected.id);
        let updated = self.write_update(caller, expected, update).await;
        let conversation = record.decided(&self.refusals, self.settled(caller, expected.id, updated).await)?;
        Ok(ConversationView { conversation, role: Role::Admin, peer: None })
    }

    async fn write_update(&self, caller: UserId, expected: Expected, update: GroupUpdate) -> Result<Conversation> {
        let mut tx = self.store.begin().await?;
        let found = lock_for(&mut tx, Action::Update, expected, caller).await?;
        let name = update.name.unwrap_or_else(|| found.name.clone());
        let is_restricted = update.is_restricted.unwrap_or(found.is_restricted);
        if name == found.name && is_restricted == found.is_restricted {
            tx.rollback().await?;
            return Ok(found);
        }
        policy::check_group_size(is_restricted, found.participant_count)?;
        commit(tx, Conversation { name, is_restricted, ..found }, Change::Updated).await
    }
}

impl Conversations {
    /// What was decided about a conversation, once the journal has everything it was decided by. A refusal says how
    /// rights are, too: who asks again after UNAVAILABLE must not hear that it takes no part, or is no admin, while what
    /// it sends is still stored. Only outsiders wait for nothing, so that they cannot tell whether there is anything.
    ///
    /// # Errors
    /// What was decided; UNAVAILABLE when the journal is away.
    pub(crate) async fn settled<T>(&self, caller: UserId, id: ConversationId, decided: Result<T>) -> Result<T> {
        match decided.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Unavailable | ErrorKind::Internal) => return decided,
            Err(ErrorKind::NotFound) if !self.knows(caller, id).await? => return decided,
            Err(_) | Ok(_) => {}
        }
        self.outbox.deliver(id).await?;
        decided
    }

    /// Whether the user takes part, or would if the journal were all there is.
    async fn knows(&self, user: UserId, id: ConversationId) -> Result<bool> {
        Ok(self.store.view(user, id).await?.is_some() || self.outbox.removes(id, user).await?)
    }
}

/// Takes the conversation's row, then reads the caller's role: what is decided by it cannot be stale.
pub(crate) async fn lock_for(
    tx: &mut Transaction,
    action: Action,
    expected: Expected,
    caller: UserId,
) -> Result<Conversation> {
    let found = tx.lock(expected.id).await?.ok_or_else(policy::no_such_conversation)?;
    let role = tx.participant(expected.id, caller).await?.map(|participant| participant.role);
    policy::check(action, found.conversation_type, role)?;
    policy::check_version(expected.version, found.version)?;
    Ok(found)
}

/// Writes a conversation that does not exist yet, with its participants.
async fn create(
    mut tx: Transaction,
    mut conversation: Conversation,
    participants: Vec<Participant>,
) -> Result<Conversation> {
    conversation.version = 1;
    conversation.participant_count = count(&participants);
    tx.insert_conversation(&conversation).await?;
    insert_participants(&mut tx, conversation.conversation_type, &participants).await?;
    tx.record(conversation.id, &convert::pending(&conversation, Change::Created(participants))).await?;
    tx.commit().await?;
    Ok(conversation)
}

/// Writes the next version of a locked conversation.
pub(crate) async fn commit(
    mut tx: Transaction,
    mut conversation: Conversation,
    change: Change,
) -> Result<Conversation> {
    conversation.version += 1;
    tx.update_conversation(&conversation).await?;
    tx.record(conversation.id, &convert::pending(&conversation, change)).await?;
    tx.commit().await?;
    Ok(conversation)
}

/// Adds the participants to what their users take part in.
pub(crate) async fn insert_participants(
    tx: &mut Transaction,
    kind: ConversationType,
    participants: &[Participant],
) -> Result<()> {
    tx.insert_participants(participants).await?;
    let users: Vec<UserId> = participants.iter().map(|participant| participant.user_id).collect();
    let counts = tx.join(&users).await?;
    participants.iter().try_for_each(|one| policy::check_conversations(kind, one.role, counts[&one.user_id]))
}

pub(crate) fn new_participant_at(
    conversation: ConversationId,
    user_id: UserId,
    role: Role,
    joined_at: Timestamp,
) -> Participant {
    Participant { id: ParticipantId::new(joined_at), conversation_id: conversation, user_id, role, joined_at }
}

fn new_participant(conversation: &Conversation, user: UserId, role: Role) -> Participant {
    new_participant_at(conversation.id, user, role, conversation.created_at)
}

fn p2p_view(conversation: Conversation, peer: UserId) -> ConversationView {
    ConversationView { conversation, role: Role::Member, peer: Some(peer) }
}

pub(crate) fn count<T>(rows: &[T]) -> i64 {
    i64::try_from(rows.len()).expect("no slice is longer than i64::MAX")
}
