-- Logins that hosts' logs tell of. A line is stored once: host and place name it at every reading.
CREATE TABLE login_event (
    host TEXT NOT NULL,
    place TEXT NOT NULL,
    at BIGINT NOT NULL,
    login TEXT NOT NULL,
    service TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- What was accepted: `key+code`.
    factors TEXT NOT NULL,
    address TEXT,
    port BIGINT,
    key TEXT,
    serial TEXT,
    generation BIGINT,
    step BIGINT,
    -- How many state files refused a code before another took it.
    refused_before BIGINT NOT NULL,
    -- The line that decided it: the evidence.
    line TEXT NOT NULL,
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (host, place)
);
CREATE INDEX login_event_by_time ON login_event (at);
CREATE INDEX login_event_by_serial ON login_event (serial);

-- How far each host's log was read, and what was not complete there: JSON.
CREATE TABLE log_cursor (
    host TEXT PRIMARY KEY,
    place TEXT NOT NULL,
    joining TEXT NOT NULL,
    -- Time of the last line.
    last_at BIGINT,
    collected_at BIGINT NOT NULL
);

-- What was lost: nothing is known of a host between these times.
CREATE TABLE log_gap (
    host TEXT NOT NULL,
    noticed_at BIGINT NOT NULL,
    after_at BIGINT,
    until_at BIGINT,
    PRIMARY KEY (host, noticed_at)
);
