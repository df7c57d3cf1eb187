-- When fleetotp was taken off a host; NULL again once a token is on it.
ALTER TABLE host ADD COLUMN removed_at BIGINT;
