-- The journal of the message context. Times are microseconds since 1970.

-- The one row whose lock orders all writers: positions and creation times are given out under it.
CREATE TABLE journal (
    id              smallint PRIMARY KEY CHECK (id = 1),
    -- Part of every cursor; changed when a backup is restored.
    identity        uuid     NOT NULL,
    last_position   bigint   NOT NULL,
    last_created_at bigint   NOT NULL,
    -- Proves publications of the bus; changed with the identity.
    bus_key         bytea    NOT NULL
-- Rewritten by every batch: half the page is left free so that old versions are pruned on the way, before the chain of
-- them gets long; vacuum has nothing to do with so small a table.
) WITH (fillfactor = 50);

INSERT INTO journal VALUES (1, gen_random_uuid(), 0, 0, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- One row per conversation: what a draft is checked against and numbered by.
CREATE TABLE head (
    conversation_id   uuid     PRIMARY KEY,
    type              smallint NOT NULL,
    is_restricted     boolean  NOT NULL,
    -- Of the last change appended; see the table change.
    version           bigint   NOT NULL,
    participant_count bigint   NOT NULL,
    last_seq          bigint   NOT NULL,
    -- Of the last entry of any kind: catching up looks only at conversations that moved.
    last_position     bigint   NOT NULL,
    last_activity_at  bigint   NOT NULL
-- Rewritten by every batch that touches the conversation. No index covers a changing column and there is room on the
-- page, so that updates stay heap-only (no index entry, pruned without vacuum); vacuum comes early for what is left.
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- The projection of who takes part now. Written only by change entries, in the transaction that appends them; the read
-- position rises by itself.
CREATE TABLE membership (
    conversation_id uuid     NOT NULL,
    user_id         uuid     NOT NULL,
    role            smallint NOT NULL,
    -- The entry that made the user a participant: what it gets live, or by replay, begins there.
    joined_position bigint   NOT NULL,
    joined_seq      bigint   NOT NULL,
    read_seq        bigint   NOT NULL,
    read_at         bigint,
    PRIMARY KEY (conversation_id, user_id)
-- Rewritten by every send (read_seq), heap-only like head.
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX membership_user ON membership (user_id, conversation_id);

-- Memberships that ended: where, and where they had begun. Replay gives a user its removals, and after being added
-- again also what it would have got before.
CREATE TABLE departure (
    user_id         uuid   NOT NULL,
    position        bigint NOT NULL,
    conversation_id uuid   NOT NULL,
    joined_position bigint NOT NULL,
    PRIMARY KEY (user_id, position)
);

-- The P2P conversation of two users, the lower id first.
CREATE TABLE p2p (
    user_low        uuid NOT NULL,
    user_high       uuid NOT NULL,
    conversation_id uuid NOT NULL,
    PRIMARY KEY (user_low, user_high),
    CHECK (user_low < user_high)
);

CREATE TABLE message (
    conversation_id   uuid   NOT NULL,
    position          bigint NOT NULL,
    seq               bigint NOT NULL,
    id                uuid   NOT NULL,
    sender_id         uuid   NOT NULL,
    created_at        bigint NOT NULL,
    -- The connection it came from, 0 when none.
    origin            bigint NOT NULL,
    reply_to_id       uuid,
    -- Of the draft as it was first sent (16 bytes): tells a repeat from another draft under the same key.
    digest            bytea  NOT NULL,
    client_message_id text,
    content           text   NOT NULL,
    metadata          text,
    -- The order of one conversation. Seq rises with the position and needs no index of its own.
    PRIMARY KEY (conversation_id, position)
) WITH (autovacuum_analyze_scale_factor = 0.02);

-- Names are known to the code: they tell a repeat from another violation.
CREATE UNIQUE INDEX message_id ON message (id);
CREATE UNIQUE INDEX message_client_message_id ON message (sender_id, client_message_id)
    WHERE client_message_id IS NOT NULL;
-- The order of the journal: filling gaps of the feed. On an expression, so that only the statement that means it can
-- use it: for "the last 50 of this conversation" the planner would take an index on the position alone, if most
-- messages are in one conversation, and walk through the whole journal for all the others.
CREATE INDEX message_position ON message ((position + 0));
-- History from a time on.
CREATE INDEX message_created_at ON message (conversation_id, created_at DESC);

-- Changes of conversations and participants.
CREATE TABLE change (
    conversation_id uuid   NOT NULL,
    position        bigint NOT NULL,
    -- 1, 2, 3 … in its conversation.
    version         bigint NOT NULL,
    -- An encoded messenger.event.v1.ConversationChanged.
    body            bytea  NOT NULL,
    PRIMARY KEY (conversation_id, position)
);

CREATE UNIQUE INDEX change_version ON change (conversation_id, version);
CREATE INDEX change_position ON change ((position + 0));
