//! The steps of one change.

use std::collections::HashMap;

use messenger_core::{ConversationId, Result, UserId};
use messenger_db::{List, Sql};
use tracing::instrument;
use uuid::Uuid;

use super::rows::{ConversationRow, ParticipantRow, read};
use crate::model::{Conversation, GroupRequest, Pair, Participant, PendingChange};

/// One change. Dropping it undoes its steps. On SQLite it has the whole file to itself.
#[derive(Debug)]
pub struct Transaction {
    tx: messenger_db::Transaction,
}

impl Transaction {
    pub(super) fn new(tx: messenger_db::Transaction) -> Self {
        Self { tx }
    }

    /// Makes the pair's conversation this one; false when the pair has one. Waits for others claiming the same pair.
    #[instrument(level = "debug", skip_all)]
    pub async fn claim_p2p(&mut self, pair: Pair, conversation: ConversationId) -> Result<bool> {
        let claimed = self
            .tx
            .statement(
                "INSERT INTO p2p (user_low, user_high, conversation_id) VALUES ($1, $2, $3)
                 ON CONFLICT (user_low, user_high) DO NOTHING",
            )
            .bind(pair.low.uuid())
            .bind(pair.high.uuid())
            .bind(conversation.uuid())
            .execute()
            .await?;
        Ok(claimed == 1)
    }

    /// Makes this request the group's; false when the group is there. Waits for others claiming the same group.
    #[instrument(level = "debug", skip_all)]
    pub async fn claim_group(&mut self, request: GroupRequest) -> Result<bool> {
        let claimed = self
            .tx
            .statement(
                "INSERT INTO group_request (conversation_id, digest) VALUES ($1, $2)
                 ON CONFLICT (conversation_id) DO NOTHING",
            )
            .bind(request.conversation_id.uuid())
            .bind(request.digest.as_slice())
            .execute()
            .await?;
        Ok(claimed == 1)
    }

    /// Takes the conversation's row until the end, and reads it. What later steps read is at least as new.
    #[instrument(level = "debug", skip_all)]
    pub async fn lock(&mut self, conversation: ConversationId) -> Result<Option<Conversation>> {
        let row: Option<ConversationRow> = self
            .tx
            .statement(Sql {
                postgres: "SELECT * FROM conversation WHERE id = $1 FOR NO KEY UPDATE",
                sqlite: "SELECT * FROM conversation WHERE id = $1",
            })
            .bind(conversation.uuid())
            .fetch_optional()
            .await?;
        row.map(Conversation::try_from).transpose()
    }

    /// The part of one user.
    #[instrument(level = "debug", skip_all)]
    pub async fn participant(&mut self, conversation: ConversationId, user: UserId) -> Result<Option<Participant>> {
        Ok(self.participants(conversation, &[user]).await?.pop())
    }

    /// The parts of those of the users who have one.
    #[instrument(level = "debug", skip_all)]
    pub async fn participants(&mut self, conversation: ConversationId, users: &[UserId]) -> Result<Vec<Participant>> {
        let rows: Vec<ParticipantRow> = self
            .tx
            .statement(Sql {
                postgres: "SELECT id, conversation_id, user_id, role, joined_at FROM participant
                     WHERE conversation_id = $1 AND user_id = ANY($2)",
                sqlite: "SELECT id, conversation_id, user_id, role, joined_at FROM participant
                     WHERE conversation_id = $1 AND user_id IN (SELECT unhex(value, '-') FROM json_each($2))",
            })
            .bind(conversation.uuid())
            .bind(List::from(users))
            .fetch_all()
            .await?;
        read(rows)
    }

    /// Whether somebody beside this user is ADMIN.
    #[instrument(level = "debug", skip_all)]
    pub async fn has_other_admin(&mut self, conversation: ConversationId, user: UserId) -> Result<bool> {
        let (has_other_admin,) = self
            .tx
            .statement(
                "SELECT EXISTS (SELECT 1 FROM participant WHERE conversation_id = $1 AND role = 1 AND user_id <> $2)",
            )
            .bind(conversation.uuid())
            .bind(user.uuid())
            .fetch_one()
            .await?;
        Ok(has_other_admin)
    }

    /// Adds a conversation.
    #[instrument(level = "debug", skip_all)]
    pub async fn insert_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        self.tx
            .statement(
                "INSERT INTO conversation (id, type, name, is_restricted, version, participant_count, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(conversation.id.uuid())
            .bind(conversation.conversation_type.code())
            .bind(&conversation.name)
            .bind(conversation.is_restricted)
            .bind(conversation.version)
            .bind(conversation.participant_count)
            .bind(conversation.created_at.as_micros())
            .execute()
            .await?;
        Ok(())
    }

    /// Writes what can change of a conversation: name, restriction, version, participant count.
    #[instrument(level = "debug", skip_all)]
    pub async fn update_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        self.tx
            .statement(
                "UPDATE conversation SET name = $2, is_restricted = $3, version = $4, participant_count = $5
                 WHERE id = $1",
            )
            .bind(conversation.id.uuid())
            .bind(&conversation.name)
            .bind(conversation.is_restricted)
            .bind(conversation.version)
            .bind(conversation.participant_count)
            .execute()
            .await?;
        Ok(())
    }

    /// Adds participants.
    #[instrument(level = "debug", skip_all)]
    pub async fn insert_participants(&mut self, participants: &[Participant]) -> Result<()> {
        let row = |p: &Participant| (p.id, p.conversation_id, p.user_id, p.role.code(), p.joined_at.as_micros());
        let rows: Vec<_> = participants.iter().map(row).collect();
        self.tx
            .statement(Sql {
                postgres: "INSERT INTO participant (id, conversation_id, user_id, role, joined_at)
                     SELECT (value ->> 0)::uuid, (value ->> 1)::uuid, (value ->> 2)::uuid,
                         (value ->> 3)::smallint, (value ->> 4)::bigint
                     FROM jsonb_array_elements($1::jsonb)",
                sqlite: "INSERT INTO participant (id, conversation_id, user_id, role, joined_at)
                     SELECT unhex(value ->> 0, '-'), unhex(value ->> 1, '-'), unhex(value ->> 2, '-'),
                         value ->> 3, value ->> 4
                     FROM json_each($1)",
            })
            .bind(serde_json::to_string(&rows).expect("strings and numbers are always JSON"))
            .execute()
            .await?;
        Ok(())
    }

    /// Writes a participant's role.
    #[instrument(level = "debug", skip_all)]
    pub async fn update_role(&mut self, participant: &Participant) -> Result<()> {
        self.tx
            .statement("UPDATE participant SET role = $3 WHERE conversation_id = $1 AND user_id = $2")
            .bind(participant.conversation_id.uuid())
            .bind(participant.user_id.uuid())
            .bind(participant.role.code())
            .execute()
            .await?;
        Ok(())
    }

    /// Removes a participant.
    #[instrument(level = "debug", skip_all)]
    pub async fn delete_participant(&mut self, conversation: ConversationId, user: UserId) -> Result<()> {
        self.tx
            .statement("DELETE FROM participant WHERE conversation_id = $1 AND user_id = $2")
            .bind(conversation.uuid())
            .bind(user.uuid())
            .execute()
            .await?;
        Ok(())
    }

    /// Counts one conversation more for each of the users; how many each has then. In the order of the users, so that two
    /// changes with users in common wait for each other and do not deadlock.
    #[instrument(level = "debug", skip_all)]
    pub async fn join(&mut self, users: &[UserId]) -> Result<HashMap<UserId, i64>> {
        let counts: Vec<(Uuid, i64)> = self
            .tx
            .statement(Sql {
                postgres: "INSERT INTO participation (user_id, conversation_count)
                     SELECT value, 1 FROM unnest($1) AS value ORDER BY value
                     ON CONFLICT (user_id) DO UPDATE SET conversation_count = participation.conversation_count + 1
                     RETURNING user_id, conversation_count",
                sqlite: "INSERT INTO participation (user_id, conversation_count)
                     SELECT unhex(value, '-'), 1 FROM json_each($1) WHERE true
                     ON CONFLICT (user_id) DO UPDATE SET conversation_count = participation.conversation_count + 1
                     RETURNING user_id, conversation_count",
            })
            .bind(List::from(users))
            .fetch_all()
            .await?;
        Ok(counts.into_iter().map(|(user, count)| (UserId::from_uuid(user), count)).collect())
    }

    /// Counts one conversation less for the user.
    #[instrument(level = "debug", skip_all)]
    pub async fn part(&mut self, user: UserId) -> Result<()> {
        self.tx
            .statement("UPDATE participation SET conversation_count = conversation_count - 1 WHERE user_id = $1")
            .bind(user.uuid())
            .execute()
            .await?;
        Ok(())
    }

    /// Puts a change into the outbox.
    #[instrument(level = "debug", skip_all)]
    pub async fn record(&mut self, conversation: ConversationId, change: &PendingChange) -> Result<()> {
        self.tx
            .statement("INSERT INTO outbox (conversation_id, version, body) VALUES ($1, $2, $3)")
            .bind(conversation.uuid())
            .bind(change.version)
            .bind(&change.body)
            .execute()
            .await?;
        Ok(())
    }

    /// Makes it all durable. UNAVAILABLE when it is unknown whether that happened.
    #[instrument(level = "debug", skip_all)]
    pub async fn commit(self) -> Result<()> {
        self.tx.commit().await
    }

    /// Undoes it all.
    #[instrument(level = "debug", skip_all)]
    pub async fn rollback(self) -> Result<()> {
        self.tx.rollback().await
    }
}
