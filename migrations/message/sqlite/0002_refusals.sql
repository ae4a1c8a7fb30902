-- Refusals of drafts that were sent more than once; the words stand with PostgreSQL.
CREATE TABLE refusal (
    message_id BLOB    PRIMARY KEY,
    reason     INTEGER NOT NULL,
    refused_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX refusal_refused_at ON refusal (refused_at);

ALTER TABLE journal ADD COLUMN refused_at INTEGER;
