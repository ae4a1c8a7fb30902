-- Whether all tokens of a user have been ended already: whoever asks for it again and again makes no rows.
CREATE INDEX revocation_by_user ON revocation (user_id);
