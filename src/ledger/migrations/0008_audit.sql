-- Ends of the event chain that were left on hosts or published, each with its signature where a key was set: an armoured SSH
-- signature over a text that names them. That one was signed is an event of its own, so its loss shows.
CREATE TABLE signed_head (
    size BIGINT PRIMARY KEY,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- Fingerprint of the key; NULL where there was none.
    key TEXT,
    signature TEXT
);

-- Where events were archived up to. The event `events.archived` names the same end.
CREATE TABLE seal (
    size BIGINT PRIMARY KEY,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL
);
