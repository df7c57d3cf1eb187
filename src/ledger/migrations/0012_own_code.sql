-- The step of the last code that fleetotp gave a host for its own account: no host is given one twice.
CREATE TABLE own_code (
    host TEXT PRIMARY KEY,
    serial TEXT NOT NULL,
    step BIGINT NOT NULL
);
