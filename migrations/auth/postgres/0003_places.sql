-- Where a session began: an account knows the places somebody logged in to it from, whatever others try.
ALTER TABLE session ADD COLUMN place bytea;  -- a digest no address can be read from; none: not said
