-- Types are BIGINT and TEXT only: they mean the same to SQLite and PostgreSQL through sqlx's Any driver.
-- Times are milliseconds since 1970; truth values 0 and 1; ciphertext base64; lists and maps JSON.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The only place that ties a pseudonym to a person. Outside the event chain: a row's names can be erased and the chain
-- still verifies. `kind` is admin (who holds tokens) or actor (who runs the program or vouches for something).
CREATE TABLE person (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT,
    display_name TEXT,
    email TEXT,
    created_at BIGINT NOT NULL,
    erased_at BIGINT
);
CREATE UNIQUE INDEX person_by_name ON person (kind, name);

CREATE TABLE token (
    serial TEXT PRIMARY KEY,
    admin TEXT NOT NULL REFERENCES person (id),
    realm TEXT NOT NULL,
    state TEXT NOT NULL,
    policy TEXT NOT NULL,
    -- Generations ever made; the next one has this number plus one.
    generations BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    revoke_requested_at BIGINT,
    revoke_reason TEXT,
    revoke_ticket TEXT,
    UNIQUE (admin, realm)
);

-- Parameters belong to the generation: a policy may change between two of them, and codes are checked against those
-- that the sheet of this generation told the app.
CREATE TABLE generation (
    serial TEXT NOT NULL REFERENCES token (serial),
    number BIGINT NOT NULL,
    slot TEXT NOT NULL,
    state TEXT NOT NULL,
    purpose TEXT NOT NULL,
    issuer TEXT NOT NULL,
    label TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    digits BIGINT NOT NULL,
    period BIGINT NOT NULL,
    -- NULL once the generation is dead.
    sealed TEXT,
    fingerprint TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT,
    confirmed_at BIGINT,
    confirmed_by TEXT REFERENCES person (id),
    confirmed_how TEXT,
    confirmed_on TEXT,
    last_step BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (serial, number)
);
CREATE INDEX generation_by_state ON generation (state);

CREATE TABLE sheet (
    id TEXT PRIMARY KEY,
    serial TEXT NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL,
    encryption TEXT NOT NULL,
    path TEXT,
    sha256 TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT,
    delivered_at BIGINT,
    delivered_to TEXT REFERENCES person (id),
    delivered_how TEXT,
    ended_at BIGINT,
    UNIQUE (serial, generation),
    FOREIGN KEY (serial, generation) REFERENCES generation (serial, number)
);
CREATE INDEX sheet_by_state ON sheet (state);

CREATE TABLE host (
    name TEXT PRIMARY KEY,
    machine_id TEXT,
    host_key TEXT,
    -- How to reach it, without secrets: a host that left the inventory must still be revocable.
    connection TEXT,
    facts TEXT,
    class TEXT,
    config_hash TEXT,
    reachable BIGINT NOT NULL,
    detail TEXT,
    last_attempt_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    retired_at BIGINT
);
CREATE INDEX host_by_machine ON host (machine_id);

CREATE TABLE token_host (
    serial TEXT NOT NULL REFERENCES token (serial),
    host TEXT NOT NULL REFERENCES host (name),
    login TEXT NOT NULL,
    state TEXT NOT NULL,
    desired TEXT,
    reason TEXT,
    current_generation BIGINT,
    next_generation BIGINT,
    changed_at BIGINT NOT NULL,
    observed_at BIGINT NOT NULL,
    last_accepted_at BIGINT,
    -- What proved a revocation: JSON.
    proof TEXT,
    PRIMARY KEY (serial, host)
);
CREATE INDEX token_host_by_host ON token_host (host);

-- Classes of hosts (same sshd, effective configuration, PAM text) on which a canary has shown the stack to work.
CREATE TABLE proven_class (
    class TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    proven_at BIGINT NOT NULL,
    run TEXT
);

CREATE TABLE run (
    id TEXT PRIMARY KEY,
    command TEXT NOT NULL,
    actor TEXT NOT NULL REFERENCES person (id),
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    exit_code BIGINT
);

CREATE TABLE event (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    serial TEXT,
    host TEXT,
    -- Canonical JSON; the only attested text. The columns above are copies for searching.
    body TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX event_by_serial ON event (serial);

CREATE TABLE confirm_try (
    serial TEXT NOT NULL,
    generation BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- 1 while nothing is known and after a wrong code, 0 where the try does not count.
    counts BIGINT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (serial, generation, number)
);

-- At most one row.
CREATE TABLE run_lock (
    name TEXT PRIMARY KEY,
    lease TEXT NOT NULL,
    who TEXT NOT NULL,
    host TEXT NOT NULL,
    machine TEXT NOT NULL,
    boot TEXT NOT NULL,
    pid_namespace TEXT NOT NULL,
    pid BIGINT NOT NULL,
    pid_start BIGINT NOT NULL,
    since BIGINT NOT NULL,
    beat_at BIGINT NOT NULL
);
