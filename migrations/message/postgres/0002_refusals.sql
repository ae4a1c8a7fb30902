-- Refusals of drafts that were sent to more than one process: the one that comes late, from a process that stood still,
-- is refused as well, whatever the rights are by then. Forgotten after an hour.
CREATE TABLE refusal (
    message_id uuid     PRIMARY KEY,
    reason     smallint NOT NULL,
    refused_at bigint   NOT NULL
);

CREATE INDEX refusal_refused_at ON refusal (refused_at);

-- When the last one was recorded, null before the first: given back by the lock, so that drafts are looked up only while
-- there may be any.
ALTER TABLE journal ADD COLUMN refused_at bigint;
