-- Conversations, who takes part in them, and the changes the journal has not acknowledged yet.
-- Times are microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE conversation (
    id                uuid     PRIMARY KEY,
    type              smallint NOT NULL CHECK (type IN (1, 2)),  -- 1 P2P, 2 GROUP
    name              text     NOT NULL,                         -- empty for P2P
    is_restricted     boolean  NOT NULL,
    version           bigint   NOT NULL CHECK (version > 0),     -- counts the changes; the first is 1
    participant_count bigint   NOT NULL CHECK (participant_count >= 0),
    created_at        bigint   NOT NULL
);

CREATE TABLE participant (
    id              uuid     NOT NULL,
    conversation_id uuid     NOT NULL REFERENCES conversation (id),
    user_id         uuid     NOT NULL,
    role            smallint NOT NULL CHECK (role IN (1, 2)),    -- 1 ADMIN, 2 MEMBER
    joined_at       bigint   NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX participant_user ON participant (user_id, conversation_id);
-- Whether a group has another ADMIN is asked with the group locked, also in groups of 100,000.
CREATE INDEX participant_admin ON participant (conversation_id, user_id) WHERE role = 1;

-- In how many conversations a user takes part: a bound is checked without counting.
CREATE TABLE participation (
    user_id            uuid   PRIMARY KEY,
    conversation_count bigint NOT NULL CHECK (conversation_count >= 0)
);

-- One row per pair of users. The pair is claimed before the conversation is written, hence deferred.
CREATE TABLE p2p (
    user_low        uuid NOT NULL,
    user_high       uuid NOT NULL CHECK (user_low < user_high),
    conversation_id uuid NOT NULL REFERENCES conversation (id) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (user_low, user_high)
);

-- Groups made under a key of their creator, from which their id is derived. digest: of the request (16 bytes), tells a
-- repeat from another request under the same key. Claimed before the conversation is written, hence deferred.
CREATE TABLE group_request (
    conversation_id uuid  PRIMARY KEY REFERENCES conversation (id) DEFERRABLE INITIALLY DEFERRED,
    digest          bytea NOT NULL
);

-- Written with the change, deleted when the journal has it. body: messenger.event.v1.ConversationChanged.
CREATE TABLE outbox (
    conversation_id uuid   NOT NULL REFERENCES conversation (id),
    version         bigint NOT NULL,
    body            bytea  NOT NULL,
    PRIMARY KEY (conversation_id, version)
);
