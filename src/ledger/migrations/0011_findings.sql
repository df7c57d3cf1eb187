-- Where an address is, as the database of addresses had it when the login was stored. Degrees are thousandths.
ALTER TABLE login_event ADD COLUMN country TEXT;
ALTER TABLE login_event ADD COLUMN city TEXT;
ALTER TABLE login_event ADD COLUMN latitude BIGINT;
ALTER TABLE login_event ADD COLUMN longitude BIGINT;
ALTER TABLE login_event ADD COLUMN asn BIGINT;
ALTER TABLE login_event ADD COLUMN network_owner TEXT;

-- What was found in logins. `key` names a finding for ever, so that judging twice stores it once.
CREATE TABLE activity_finding (
    key TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    severity TEXT NOT NULL,
    at BIGINT NOT NULL,
    noticed_at BIGINT NOT NULL,
    serial TEXT,
    login TEXT,
    hosts TEXT NOT NULL,
    text TEXT NOT NULL,
    -- Lines of logs, a JSON list.
    evidence TEXT NOT NULL,
    -- Who is to be told: NULL nobody, else `open` until the receiver has taken it, then `sent`.
    webhook TEXT,
    syslog TEXT
);
CREATE INDEX activity_finding_by_time ON activity_finding (noticed_at);
