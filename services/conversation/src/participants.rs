//! Participants: added, promoted, demoted, removed, leaving.

use std::collections::HashMap;

use messenger_core::{ConversationId, Error, Result, Role, UserId, page::PageSize};
use messenger_telemetry::Audit;

use crate::{
    conversations::{Conversations, commit, count, insert_participants, lock_for, new_participant_at},
    model::{Change, Conversation, Expected, Participant},
    policy::{self, Action},
};

impl Conversations {
    /// The participants after the given user in the order of their user ids; one more than the page has if there are
    /// more.
    ///
    /// # Errors
    /// NOT_FOUND when the caller takes no part.
    pub(crate) async fn participants(
        &self,
        caller: UserId,
        conversation: ConversationId,
        after: Option<UserId>,
        page: PageSize,
    ) -> Result<Vec<Participant>> {
        let participants = self.store.participants(caller, conversation, after, page).await?;
        if participants.is_empty() {
            // Past the end, or not the caller's to read.
            self.view(caller, conversation).await?;
        }
        Ok(participants)
    }

    /// Adds the users (each named once) as MEMBER, all in one version; those who take part are left as they are.
    /// The participants of all the named, in their order.
    ///
    /// # Errors
    /// NOT_FOUND (the conversation, a user), VALIDATION_FAILED (P2P, too many conversations of a user), FORBIDDEN,
    /// GROUP_FULL, VERSION_CONFLICT.
    pub(crate) async fn add_participants(
        &self,
        caller: UserId,
        expected: Expected,
        users: Vec<UserId>,
    ) -> Result<Vec<Participant>> {
        let added = self.write_addition(caller, expected, &users).await;
        let added = self.settled(caller, expected.id, added).await;
        Audit::of("participant.added").by(caller).conversation(expected.id).decided_for(&users, &self.refusals, added)
    }

    async fn write_addition(&self, caller: UserId, expected: Expected, users: &[UserId]) -> Result<Vec<Participant>> {
        let id = expected.id;
        // Asked again under the lock; here so that auth is asked only for those who may add.
        let view = self.view(caller, id).await?;
        policy::check(Action::AddParticipants, view.conversation.conversation_type, Some(view.role))?;
        self.users.check_exist(caller, users).await?;
        let mut tx = self.store.begin().await?;
        let found = lock_for(&mut tx, Action::AddParticipants, expected, caller).await?;
        let there = tx.participants(id, users).await?.into_iter();
        let mut participants: HashMap<UserId, Participant> = there.map(|there| (there.user_id, there)).collect();
        let now = self.clock.now();
        let missing = users.iter().filter(|user| !participants.contains_key(user));
        let added: Vec<Participant> = missing.map(|user| new_participant_at(id, *user, Role::Member, now)).collect();
        if added.is_empty() {
            tx.rollback().await?;
        } else {
            let participant_count = found.participant_count + count(&added);
            policy::check_group_size(found.is_restricted, participant_count)?;
            insert_participants(&mut tx, found.conversation_type, &added).await?;
            participants.extend(added.iter().map(|added| (added.user_id, added.clone())));
            commit(tx, Conversation { participant_count, ..found }, Change::ParticipantsAdded(added)).await?;
        }
        Ok(users.iter().filter_map(|user| participants.remove(user)).collect())
    }

    /// Promotes or demotes a participant.
    ///
    /// # Errors
    /// NOT_FOUND (the conversation, the participant), VALIDATION_FAILED (P2P), FORBIDDEN, LAST_ADMIN, VERSION_CONFLICT.
    pub(crate) async fn update_participant(
        &self,
        caller: UserId,
        expected: Expected,
        user: UserId,
        role: Role,
    ) -> Result<Participant> {
        let action = match role {
            Role::Admin => "participant.promoted",
            Role::Member => "participant.demoted",
        };
        let updated = self.write_role(caller, expected, user, role).await;
        let updated = self.settled(caller, expected.id, updated).await;
        Audit::of(action).by(caller).conversation(expected.id).subject(user).decided(&self.refusals, updated)
    }

    async fn write_role(&self, caller: UserId, expected: Expected, user: UserId, role: Role) -> Result<Participant> {
        let id = expected.id;
        let mut tx = self.store.begin().await?;
        let found = lock_for(&mut tx, Action::ChangeRole, expected, caller).await?;
        let mut participant = tx.participant(id, user).await?.ok_or_else(no_such_participant)?;
        if participant.role == role {
            tx.rollback().await?;
            return Ok(participant);
        }
        if role == Role::Member {
            policy::check_demotion(participant.role, tx.has_other_admin(id, user).await?)?;
        }
        participant.role = role;
        tx.update_role(&participant).await?;
        commit(tx, found, Change::ParticipantUpdated(participant.clone())).await?;
        Ok(participant)
    }

    /// Removes a participant; a caller that names itself leaves.
    ///
    /// # Errors
    /// NOT_FOUND (the conversation, the participant), VALIDATION_FAILED (P2P), FORBIDDEN, LAST_ADMIN, VERSION_CONFLICT.
    pub(crate) async fn remove_participant(&self, caller: UserId, expected: Expected, user: UserId) -> Result<()> {
        let removed = self.write_removal(caller, expected, user).await;
        let removed = self.settled(caller, expected.id, removed).await;
        Audit::of("participant.removed")
            .by(caller)
            .conversation(expected.id)
            .subject(user)
            .decided(&self.refusals, removed)
    }

    async fn write_removal(&self, caller: UserId, expected: Expected, user: UserId) -> Result<()> {
        let id = expected.id;
        let mut tx = self.store.begin().await?;
        let action = if caller == user { Action::Leave } else { Action::RemoveOther };
        let found = lock_for(&mut tx, action, expected, caller).await?;
        let participant = tx.participant(id, user).await?.ok_or_else(no_such_participant)?;
        let has_other_admin = tx.has_other_admin(id, user).await?;
        policy::check_departure(participant.role, has_other_admin, found.participant_count)?;
        tx.delete_participant(id, user).await?;
        tx.part(user).await?;
        let participant_count = found.participant_count - 1;
        let change = Change::ParticipantRemoved { user_id: user, removed_by: caller };
        commit(tx, Conversation { participant_count, ..found }, change).await.map(drop)
    }
}

fn no_such_participant() -> Error {
    Error::not_found("no such participant")
}
