-- Users of other identity systems beside our own, users who are kept out, and keys that take turns.

-- A user has a password here, or is the subject of an issuer; the same address may be given out by several issuers, and
-- again by one.
ALTER TABLE account
    ALTER COLUMN password_hash DROP NOT NULL,
    ADD COLUMN issuer         text,
    ADD COLUMN subject        text,
    ADD COLUMN described_at   bigint NOT NULL DEFAULT 0,  -- when what the issuer says of it was so
    ADD COLUMN token_at       bigint NOT NULL DEFAULT 0,  -- when the newest token seen was issued
    ADD COLUMN deactivated_at bigint,
    ADD CONSTRAINT account_origin CHECK ((issuer IS NULL) = (subject IS NULL)),
    ADD CONSTRAINT account_subject_key UNIQUE (issuer, subject),
    DROP CONSTRAINT account_email_key;
CREATE UNIQUE INDEX account_email_key ON account (email) WHERE issuer IS NULL;
CREATE INDEX account_by_email ON account (email, id);

-- The newest whose time has come signs; an older one is published until its tokens are over.
ALTER TABLE signing_key
    ADD COLUMN signs_from bigint NOT NULL DEFAULT 0,
    ADD COLUMN sealed_by  text;  -- fingerprint of the secret it is encrypted with; none: it is not
ALTER TABLE refresh_key ADD COLUMN sealed_by text;

-- No token it ends is good for longer; none: 20 minutes.
ALTER TABLE revocation ADD COLUMN until bigint;

-- The last keys of other systems, for when those are away.
CREATE TABLE foreign_issuer (
    issuer     text PRIMARY KEY,
    jwks       text NOT NULL,
    fetched_at bigint NOT NULL
);
