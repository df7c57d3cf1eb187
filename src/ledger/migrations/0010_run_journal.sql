-- What a run did on each host of each play. `phase` is waiting, changing (PAM or sshd text is about to change: written
-- before the host hears of it) or done; `result`, once done, is ok, changed, failed, unreachable or skipped.
CREATE TABLE run_host (
    run TEXT NOT NULL REFERENCES run (id),
    play BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    play_name TEXT NOT NULL,
    host TEXT NOT NULL,
    phase TEXT NOT NULL,
    result TEXT,
    reason TEXT,
    begun_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (run, play, host)
);

-- PAM and sshd text that a run was about to change on a host: hashes before and after, null where there was or will be no
-- file. Nothing else is kept for a rollback: no secret, no group, no revocation.
CREATE TABLE run_file (
    run TEXT NOT NULL REFERENCES run (id),
    play BIGINT NOT NULL,
    host TEXT NOT NULL,
    path TEXT NOT NULL,
    mode BIGINT NOT NULL,
    before_sha256 TEXT,
    after_sha256 TEXT,
    PRIMARY KEY (run, play, host, path)
);

-- When the text of a run was put back on a host: nobody brings it again but a run that is asked to.
ALTER TABLE host ADD COLUMN rolled_back_at BIGINT;

-- The texts by their hash: hosts of a kind share them.
CREATE TABLE config_text (
    sha256 TEXT PRIMARY KEY,
    body TEXT NOT NULL
);
