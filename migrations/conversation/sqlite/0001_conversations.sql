-- Conversations, who takes part in them, and the changes the journal has not acknowledged yet.
-- Times are microseconds since 1970-01-01T00:00:00Z, ids are 16 bytes.

CREATE TABLE conversation (
    id                BLOB    NOT NULL PRIMARY KEY,
    type              INTEGER NOT NULL CHECK (type IN (1, 2)),  -- 1 P2P, 2 GROUP
    name              TEXT    NOT NULL,                         -- empty for P2P
    is_restricted     BOOLEAN NOT NULL,
    version           INTEGER NOT NULL CHECK (version > 0),     -- counts the changes; the first is 1
    participant_count INTEGER NOT NULL CHECK (participant_count >= 0),
    created_at        INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE participant (
    id              BLOB    NOT NULL,
    conversation_id BLOB    NOT NULL REFERENCES conversation (id),
    user_id         BLOB    NOT NULL,
    role            INTEGER NOT NULL CHECK (role IN (1, 2)),    -- 1 ADMIN, 2 MEMBER
    joined_at       INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;
CREATE INDEX participant_user ON participant (user_id, conversation_id);
-- Whether a group has another ADMIN is asked with the group locked, also in groups of 100,000.
CREATE INDEX participant_admin ON participant (conversation_id, user_id) WHERE role = 1;

-- In how many conversations a user takes part: a bound is checked without counting.
CREATE TABLE participation (
    user_id            BLOB    NOT NULL PRIMARY KEY,
    conversation_count INTEGER NOT NULL CHECK (conversation_count >= 0)
) WITHOUT ROWID;

-- One row per pair of users. The pair is claimed before the conversation is written, hence deferred.
CREATE TABLE p2p (
    user_low        BLOB NOT NULL,
    user_high       BLOB NOT NULL CHECK (user_low < user_high),
    conversation_id BLOB NOT NULL REFERENCES conversation (id) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (user_low, user_high)
) WITHOUT ROWID;

-- Groups made under a key of their creator, from which their id is derived. digest: of the request (16 bytes), tells a
-- repeat from another request under the same key. Claimed before the conversation is written, hence deferred.
CREATE TABLE group_request (
    conversation_id BLOB NOT NULL PRIMARY KEY REFERENCES conversation (id) DEFERRABLE INITIALLY DEFERRED,
    digest          BLOB NOT NULL
) WITHOUT ROWID;

-- Written with the change, deleted when the journal has it. body: messenger.event.v1.ConversationChanged.
CREATE TABLE outbox (
    conversation_id BLOB    NOT NULL REFERENCES conversation (id),
    version         INTEGER NOT NULL,
    body            BLOB    NOT NULL,
    PRIMARY KEY (conversation_id, version)
);
