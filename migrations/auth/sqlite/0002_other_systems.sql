-- Users of other identity systems beside our own, users who are kept out, and keys that take turns.

-- A user has a password here, or is the subject of an issuer; the same address may be given out by several issuers, and
-- again by one. SQLite cannot take a constraint away: the table is made anew, with all that refer to it.
CREATE TABLE new_account (
    id             blob NOT NULL PRIMARY KEY,
    email          text NOT NULL,  -- trimmed, lower case; empty: not known
    full_name      text NOT NULL,
    designation    text NOT NULL,
    password_hash  text,           -- PHC string
    created_at     integer NOT NULL,
    issuer         text,
    subject        text,
    described_at   integer NOT NULL DEFAULT 0,  -- when what the issuer says of it was so
    token_at       integer NOT NULL DEFAULT 0,  -- when the newest token seen was issued
    deactivated_at integer,
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    UNIQUE (issuer, subject)
);
INSERT INTO new_account (id, email, full_name, designation, password_hash, created_at)
SELECT id, email, full_name, designation, password_hash, created_at FROM account;

CREATE TABLE new_user_search (
    word    text NOT NULL,
    user_id blob NOT NULL REFERENCES new_account (id) ON DELETE CASCADE,
    PRIMARY KEY (word, user_id)
) WITHOUT ROWID;
INSERT INTO new_user_search SELECT word, user_id FROM user_search;

CREATE TABLE new_session (
    id           blob NOT NULL PRIMARY KEY,
    user_id      blob NOT NULL REFERENCES new_account (id) ON DELETE CASCADE,
    user_agent   text NOT NULL,
    created_at   integer NOT NULL,
    last_used_at integer NOT NULL,
    expires_at   integer NOT NULL,
    ended_at     integer,
    generation   integer NOT NULL,  -- of the newest refresh token, from 0
    token_digest blob NOT NULL      -- SHA-256 of the newest refresh token
);
INSERT INTO new_session
SELECT id, user_id, user_agent, created_at, last_used_at, expires_at, ended_at, generation, token_digest FROM session;

CREATE TABLE new_refresh_use (
    session_id blob NOT NULL REFERENCES new_session (id) ON DELETE CASCADE,
    generation integer NOT NULL,
    used_at    integer NOT NULL,
    PRIMARY KEY (session_id, generation)
) WITHOUT ROWID;
INSERT INTO new_refresh_use SELECT session_id, generation, used_at FROM refresh_use;

DROP TABLE refresh_use;
DROP TABLE session;
DROP TABLE user_search;
DROP TABLE account;
ALTER TABLE new_account RENAME TO account;
ALTER TABLE new_user_search RENAME TO user_search;
ALTER TABLE new_session RENAME TO session;
ALTER TABLE new_refresh_use RENAME TO refresh_use;

CREATE UNIQUE INDEX account_email_key ON account (email) WHERE issuer IS NULL;
CREATE INDEX account_by_email ON account (email, id);
CREATE INDEX user_search_by_user ON user_search (user_id, word);
CREATE INDEX session_by_user ON session (user_id, last_used_at);
CREATE INDEX session_by_expiry ON session (expires_at);

-- The newest whose time has come signs; an older one is published until its tokens are over.
ALTER TABLE signing_key ADD COLUMN signs_from integer NOT NULL DEFAULT 0;
ALTER TABLE signing_key ADD COLUMN sealed_by text;  -- fingerprint of the secret it is encrypted with; none: it is not
ALTER TABLE refresh_key ADD COLUMN sealed_by text;

-- No token it ends is good for longer; none: 20 minutes.
ALTER TABLE revocation ADD COLUMN until integer;

-- The last keys of other systems, for when those are away.
CREATE TABLE foreign_issuer (
    issuer     text NOT NULL PRIMARY KEY,
    jwks       text NOT NULL,
    fetched_at integer NOT NULL
);
