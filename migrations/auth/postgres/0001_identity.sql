-- Users, their sessions, the keys that sign their tokens, and who must not be believed any more.
-- Times are microseconds since 1970.

CREATE TABLE account (
    id            uuid PRIMARY KEY,
    email         text NOT NULL,  -- trimmed, lower case
    full_name     text NOT NULL,
    designation   text NOT NULL,
    password_hash text NOT NULL,  -- PHC string
    created_at    bigint NOT NULL,
    CONSTRAINT account_email_key UNIQUE (email)
);

-- What a user can be found by beside the whole address: the full name from each of its words on. Lower case, compared
-- by bytes, so that a prefix is a range of the primary key on every engine and in every locale.
CREATE TABLE user_search (
    word    text COLLATE "C" NOT NULL,
    user_id uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (word, user_id)
);
CREATE INDEX user_search_by_user ON user_search (user_id, word);

-- One login on one device. Its refresh tokens are a chain (each follows from the one before by a secret), so only
-- the digest of the newest is kept, however often it is rotated.
CREATE TABLE session (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    user_agent   text NOT NULL,
    created_at   bigint NOT NULL,
    last_used_at bigint NOT NULL,
    expires_at   bigint NOT NULL,
    ended_at     bigint,
    generation   bigint NOT NULL,  -- of the newest refresh token, from 0
    token_digest bytea NOT NULL    -- SHA-256 of the newest refresh token
);
CREATE INDEX session_by_user ON session (user_id, last_used_at);
CREATE INDEX session_by_expiry ON session (expires_at);

-- When a session's refresh tokens were used; only the last seconds are kept.
CREATE TABLE refresh_use (
    session_id uuid NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    generation bigint NOT NULL,
    used_at    bigint NOT NULL,
    PRIMARY KEY (session_id, generation)
);

-- Ed25519. All are published, the active one signs.
CREATE TABLE signing_key (
    kid         text PRIMARY KEY,
    private_key bytea NOT NULL,  -- PKCS#8 version 1
    is_active   boolean NOT NULL,
    created_at  bigint NOT NULL
);
CREATE UNIQUE INDEX signing_key_active ON signing_key (is_active) WHERE is_active;

-- The secret by which one refresh token follows from another.
CREATE TABLE refresh_key (
    id     smallint PRIMARY KEY CHECK (id = 1),
    secret bytea NOT NULL
);

-- The lock row of the revocations: a number is taken under it, so numbers rise in commit order.
CREATE TABLE revocation_head (
    id          smallint PRIMARY KEY CHECK (id = 1),
    last_number bigint NOT NULL
);
INSERT INTO revocation_head (id, last_number) VALUES (1, 0);

-- Without a session it ends every session of the user but the excepted one.
CREATE TABLE revocation (
    number            bigint PRIMARY KEY,
    user_id           uuid NOT NULL,
    session_id        uuid,
    except_session_id uuid,
    revoked_at        bigint NOT NULL
);
