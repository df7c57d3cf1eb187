-- When fleetotp was taken off a host; NULL again once a token is on it.
ALTER TABLE host ADD COLUMN removed_at BIGINT;

-- One-time codes (break-glass), one row a host. The code itself is nowhere.
CREATE TABLE bypass (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    serial TEXT NOT NULL REFERENCES token (serial),
    login TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    ticket TEXT,
    state TEXT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (id, host)
);
CREATE INDEX bypass_by_state ON bypass (state);
