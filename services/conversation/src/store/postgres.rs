//! The store on PostgreSQL, schema `conversation`.

use async_trait::async_trait;
use messenger_core::{ConversationId, Result, UserId, page::PageSize};
use messenger_db::error;
use sqlx::{PgPool, Postgres, query, query_as, query_scalar};
use tracing::instrument;
use uuid::Uuid;

use super::{
    ConversationRow, FoundP2pRow, ParticipantRow, PendingRow, Store, Transaction, ViewRow, digest, read, uuid_or_nil,
    uuids,
};
use crate::model::{
    Conversation, ConversationView, FoundP2p, GroupRequest, Pair, Participant, PendingChange, RequestDigest,
};

/// A database with the schema `conversation`.
#[derive(Debug, Clone)]
pub(super) struct PostgresStore {
    pub(super) pool: PgPool,
}

#[async_trait]
impl Store for PostgresStore {
    #[instrument(level = "debug", skip_all)]
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let tx = self.pool.begin().await.map_err(error)?;
        Ok(Box::new(PostgresTransaction { tx }))
    }

    #[instrument(level = "debug", skip_all)]
    async fn find_p2p(&self, pair: Pair) -> Result<Option<FoundP2p>> {
        let row: Option<FoundP2pRow> = query_as(
            "SELECT c.*, NOT EXISTS (SELECT 1 FROM outbox o WHERE o.conversation_id = c.id) AS is_delivered
             FROM p2p JOIN conversation c ON c.id = p2p.conversation_id
             WHERE p2p.user_low = $1 AND p2p.user_high = $2",
        )
        .bind(pair.low.uuid())
        .bind(pair.high.uuid())
        .fetch_optional(&self.pool)
        .await
        .map_err(error)?;
        row.map(FoundP2p::try_from).transpose()
    }

    #[instrument(level = "debug", skip_all)]
    async fn group_request(&self, conversation: ConversationId) -> Result<Option<RequestDigest>> {
        let bytes: Option<Vec<u8>> = query_scalar("SELECT digest FROM group_request WHERE conversation_id = $1")
            .bind(conversation.uuid())
            .fetch_optional(&self.pool)
            .await
            .map_err(error)?;
        bytes.map(digest).transpose()
    }

    #[instrument(level = "debug", skip_all)]
    async fn view(&self, user: UserId, conversation: ConversationId) -> Result<Option<ConversationView>> {
        Ok(self.views(user, &[conversation]).await?.pop())
    }

    #[instrument(level = "debug", skip_all)]
    async fn views(&self, user: UserId, conversations: &[ConversationId]) -> Result<Vec<ConversationView>> {
        let rows: Vec<ViewRow> = query_as(
            "SELECT c.*, me.role, peer.user_id AS peer_user_id
             FROM participant me
             JOIN conversation c ON c.id = me.conversation_id
             LEFT JOIN participant peer ON c.type = 1 AND peer.conversation_id = c.id AND peer.user_id <> me.user_id
             WHERE me.user_id = $1 AND me.conversation_id = ANY($2)
             ORDER BY me.conversation_id",
        )
        .bind(user.uuid())
        .bind(uuids(conversations))
        .fetch_all(&self.pool)
        .await
        .map_err(error)?;
        read(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn list(&self, user: UserId, after: Option<ConversationId>, page: PageSize) -> Result<Vec<ConversationView>> {
        let rows: Vec<ViewRow> = query_as(
            "SELECT c.*, me.role, peer.user_id AS peer_user_id
             FROM participant me
             JOIN conversation c ON c.id = me.conversation_id
             LEFT JOIN participant peer ON c.type = 1 AND peer.conversation_id = c.id AND peer.user_id <> me.user_id
             WHERE me.user_id = $1 AND me.conversation_id > $2
             ORDER BY me.conversation_id LIMIT $3",
        )
        .bind(user.uuid())
        .bind(uuid_or_nil(after))
        .bind(page.rows_and_one())
        .fetch_all(&self.pool)
        .await
        .map_err(error)?;
        read(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn participants(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: Option<UserId>,
        page: PageSize,
    ) -> Result<Vec<Participant>> {
        let rows: Vec<ParticipantRow> = query_as(
            "SELECT p.id, p.conversation_id, p.user_id, p.role, p.joined_at
             FROM participant me JOIN participant p ON p.conversation_id = me.conversation_id
             WHERE me.conversation_id = $1 AND me.user_id = $2 AND p.user_id > $3
             ORDER BY p.user_id LIMIT $4",
        )
        .bind(conversation.uuid())
        .bind(user.uuid())
        .bind(uuid_or_nil(after))
        .bind(page.rows_and_one())
        .fetch_all(&self.pool)
        .await
        .map_err(error)?;
        read(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn pending(&self, conversation: ConversationId, version: i64, rows: u32) -> Result<Vec<PendingChange>> {
        let rows: Vec<PendingRow> = query_as(
            "SELECT version, body FROM outbox WHERE conversation_id = $1 AND version > $2 ORDER BY version LIMIT $3",
        )
        .bind(conversation.uuid())
        .bind(version)
        .bind(i64::from(rows))
        .fetch_all(&self.pool)
        .await
        .map_err(error)?;
        Ok(rows.into_iter().map(PendingChange::from).collect())
    }

    #[instrument(level = "debug", skip_all)]
    async fn acknowledge(&self, conversation: ConversationId, version: i64) -> Result<()> {
        query("DELETE FROM outbox WHERE conversation_id = $1 AND version <= $2")
            .bind(conversation.uuid())
            .bind(version)
            .execute(&self.pool)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn undelivered(&self, after: Option<ConversationId>, rows: u32) -> Result<Vec<ConversationId>> {
        let ids: Vec<Uuid> = query_scalar(
            "SELECT DISTINCT conversation_id FROM outbox WHERE conversation_id > $1 ORDER BY conversation_id LIMIT $2",
        )
        .bind(uuid_or_nil(after))
        .bind(i64::from(rows))
        .fetch_all(&self.pool)
        .await
        .map_err(error)?;
        Ok(ids.into_iter().map(ConversationId::from_uuid).collect())
    }
}

struct PostgresTransaction {
    tx: sqlx::Transaction<'static, Postgres>,
}

#[async_trait]
impl Transaction for PostgresTransaction {
    #[instrument(level = "debug", skip_all)]
    async fn claim_p2p(&mut self, pair: Pair, conversation: ConversationId) -> Result<bool> {
        let done = query(
            "INSERT INTO p2p (user_low, user_high, conversation_id) VALUES ($1, $2, $3)
             ON CONFLICT (user_low, user_high) DO NOTHING",
        )
        .bind(pair.low.uuid())
        .bind(pair.high.uuid())
        .bind(conversation.uuid())
        .execute(&mut *self.tx)
        .await
        .map_err(error)?;
        Ok(done.rows_affected() == 1)
    }

    #[instrument(level = "debug", skip_all)]
    async fn claim_group(&mut self, request: GroupRequest) -> Result<bool> {
        let done = query(
            "INSERT INTO group_request (conversation_id, digest) VALUES ($1, $2)
             ON CONFLICT (conversation_id) DO NOTHING",
        )
        .bind(request.conversation_id.uuid())
        .bind(request.digest.as_slice())
        .execute(&mut *self.tx)
        .await
        .map_err(error)?;
        Ok(done.rows_affected() == 1)
    }

    #[instrument(level = "debug", skip_all)]
    async fn lock(&mut self, conversation: ConversationId) -> Result<Option<Conversation>> {
        let row: Option<ConversationRow> = query_as("SELECT * FROM conversation WHERE id = $1 FOR NO KEY UPDATE")
            .bind(conversation.uuid())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(error)?;
        row.map(Conversation::try_from).transpose()
    }

    #[instrument(level = "debug", skip_all)]
    async fn participant(&mut self, conversation: ConversationId, user: UserId) -> Result<Option<Participant>> {
        Ok(self.participants(conversation, &[user]).await?.pop())
    }

    #[instrument(level = "debug", skip_all)]
    async fn participants(&mut self, conversation: ConversationId, users: &[UserId]) -> Result<Vec<Participant>> {
        let rows: Vec<ParticipantRow> = query_as(
            "SELECT id, conversation_id, user_id, role, joined_at FROM participant
             WHERE conversation_id = $1 AND user_id = ANY($2)",
        )
        .bind(conversation.uuid())
        .bind(uuids(users))
        .fetch_all(&mut *self.tx)
        .await
        .map_err(error)?;
        read(rows)
    }

    #[instrument(level = "debug", skip_all)]
    async fn has_other_admin(&mut self, conversation: ConversationId, user: UserId) -> Result<bool> {
        query_scalar(
            "SELECT EXISTS (SELECT 1 FROM participant WHERE conversation_id = $1 AND role = 1 AND user_id <> $2)",
        )
        .bind(conversation.uuid())
        .bind(user.uuid())
        .fetch_one(&mut *self.tx)
        .await
        .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn insert_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        query(
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
        .execute(&mut *self.tx)
        .await
        .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn update_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        query(
            "UPDATE conversation SET name = $2, is_restricted = $3, version = $4, participant_count = $5 WHERE id = $1",
        )
        .bind(conversation.id.uuid())
        .bind(&conversation.name)
        .bind(conversation.is_restricted)
        .bind(conversation.version)
        .bind(conversation.participant_count)
        .execute(&mut *self.tx)
        .await
        .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn insert_participants(&mut self, participants: &[Participant]) -> Result<()> {
        query(
            "INSERT INTO participant (id, conversation_id, user_id, role, joined_at)
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::bigint[])",
        )
        .bind(participants.iter().map(|p| p.id.uuid()).collect::<Vec<_>>())
        .bind(participants.iter().map(|p| p.conversation_id.uuid()).collect::<Vec<_>>())
        .bind(participants.iter().map(|p| p.user_id.uuid()).collect::<Vec<_>>())
        .bind(participants.iter().map(|p| p.role.code()).collect::<Vec<_>>())
        .bind(participants.iter().map(|p| p.joined_at.as_micros()).collect::<Vec<_>>())
        .execute(&mut *self.tx)
        .await
        .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn update_role(&mut self, participant: &Participant) -> Result<()> {
        query("UPDATE participant SET role = $3 WHERE conversation_id = $1 AND user_id = $2")
            .bind(participant.conversation_id.uuid())
            .bind(participant.user_id.uuid())
            .bind(participant.role.code())
            .execute(&mut *self.tx)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn delete_participant(&mut self, conversation: ConversationId, user: UserId) -> Result<()> {
        query("DELETE FROM participant WHERE conversation_id = $1 AND user_id = $2")
            .bind(conversation.uuid())
            .bind(user.uuid())
            .execute(&mut *self.tx)
            .await
            .map_err(error)?;
        Ok(())
    }

    /// In the order of the users, so that two changes with users in common wait for each other and do not deadlock.
    #[instrument(level = "debug", skip_all)]
    async fn join(&mut self, users: &[UserId]) -> Result<i64> {
        query_scalar(
            "WITH counted AS (
                 INSERT INTO participation (user_id, conversation_count)
                 SELECT user_id, 1 FROM UNNEST($1::uuid[]) AS asked (user_id) ORDER BY user_id
                 ON CONFLICT (user_id) DO UPDATE SET conversation_count = participation.conversation_count + 1
                 RETURNING conversation_count)
             SELECT COALESCE(MAX(conversation_count), 0) FROM counted",
        )
        .bind(uuids(users))
        .fetch_one(&mut *self.tx)
        .await
        .map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn part(&mut self, user: UserId) -> Result<()> {
        query("UPDATE participation SET conversation_count = conversation_count - 1 WHERE user_id = $1")
            .bind(user.uuid())
            .execute(&mut *self.tx)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn record(&mut self, conversation: ConversationId, change: &PendingChange) -> Result<()> {
        query("INSERT INTO outbox (conversation_id, version, body) VALUES ($1, $2, $3)")
            .bind(conversation.uuid())
            .bind(change.version)
            .bind(&change.body)
            .execute(&mut *self.tx)
            .await
            .map_err(error)?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn commit(self: Box<Self>) -> Result<()> {
        self.tx.commit().await.map_err(error)
    }

    #[instrument(level = "debug", skip_all)]
    async fn rollback(self: Box<Self>) -> Result<()> {
        self.tx.rollback().await.map_err(error)
    }
}
