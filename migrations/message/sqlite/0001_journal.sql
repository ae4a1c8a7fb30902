-- The journal of the message context. Times are microseconds since 1970, ids are
-- 16 bytes. The same tables as for PostgreSQL, where the words stand that are not repeated here.

-- The one row that gives out positions and creation times; the lock is BEGIN IMMEDIATE.
CREATE TABLE journal (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    identity        BLOB    NOT NULL,
    last_position   INTEGER NOT NULL,
    last_created_at INTEGER NOT NULL,
    bus_key         BLOB    NOT NULL
) STRICT;

INSERT INTO journal VALUES (1, randomblob(16), 0, 0, randomblob(32));

CREATE TABLE head (
    conversation_id   BLOB    PRIMARY KEY,
    type              INTEGER NOT NULL,
    is_restricted     INTEGER NOT NULL,
    version           INTEGER NOT NULL,
    participant_count INTEGER NOT NULL,
    last_seq          INTEGER NOT NULL,
    last_position     INTEGER NOT NULL,
    last_activity_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE membership (
    conversation_id BLOB    NOT NULL,
    user_id         BLOB    NOT NULL,
    role            INTEGER NOT NULL,
    joined_position INTEGER NOT NULL,
    joined_seq      INTEGER NOT NULL,
    read_seq        INTEGER NOT NULL,
    read_at         INTEGER,
    PRIMARY KEY (conversation_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX membership_user ON membership (user_id, conversation_id);

CREATE TABLE departure (
    user_id         BLOB    NOT NULL,
    position        INTEGER NOT NULL,
    conversation_id BLOB    NOT NULL,
    joined_position INTEGER NOT NULL,
    PRIMARY KEY (user_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE p2p (
    user_low        BLOB NOT NULL,
    user_high       BLOB NOT NULL,
    conversation_id BLOB NOT NULL,
    PRIMARY KEY (user_low, user_high),
    CHECK (user_low < user_high)
) STRICT, WITHOUT ROWID;

-- The position is the key of the table itself: appending goes to its end, and the order of the journal costs no index.
CREATE TABLE message (
    position          INTEGER PRIMARY KEY,
    conversation_id   BLOB    NOT NULL,
    seq               INTEGER NOT NULL,
    id                BLOB    NOT NULL,
    sender_id         BLOB    NOT NULL,
    created_at        INTEGER NOT NULL,
    origin            INTEGER NOT NULL,
    reply_to_id       BLOB,
    digest            BLOB    NOT NULL,
    client_message_id TEXT,
    content           TEXT    NOT NULL,
    metadata          TEXT
) STRICT;

CREATE UNIQUE INDEX message_id ON message (id);
CREATE UNIQUE INDEX message_client_message_id ON message (sender_id, client_message_id)
    WHERE client_message_id IS NOT NULL;
-- The order of one conversation.
CREATE INDEX message_conversation ON message (conversation_id, position);
-- History from a time on.
CREATE INDEX message_created_at ON message (conversation_id, created_at DESC);

CREATE TABLE change (
    position        INTEGER PRIMARY KEY,
    conversation_id BLOB    NOT NULL,
    version         INTEGER NOT NULL,
    body            BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX change_version ON change (conversation_id, version);
CREATE INDEX change_conversation ON change (conversation_id, position);
