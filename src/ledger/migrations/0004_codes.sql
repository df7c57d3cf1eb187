-- Recovery codes: hashes only, and those only while they can be redeemed.
CREATE TABLE recovery_code (
    serial TEXT NOT NULL REFERENCES token (serial),
    -- Counts on over all issues of a token.
    number BIGINT NOT NULL,
    -- The generation on whose sheet it stands.
    generation BIGINT NOT NULL,
    -- Argon2id in PHC form; NULL once used or replaced.
    hash TEXT,
    issued_at BIGINT NOT NULL,
    used_at BIGINT,
    void_at BIGINT,
    PRIMARY KEY (serial, number)
);

-- The recipients that a secret is sealed to, as a JSON list: age does not tell. NULL where an earlier version sealed it.
ALTER TABLE generation ADD COLUMN sealed_to TEXT;

-- Secrets that somebody could read who is no longer to: open until the generation is dead.
CREATE TABLE exposure (
    serial TEXT NOT NULL,
    generation BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (serial, generation, recipient),
    FOREIGN KEY (serial, generation) REFERENCES generation (serial, number)
);
