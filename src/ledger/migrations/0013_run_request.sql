-- What a run of playbooks was asked for: its files and what narrowed it, as JSON, so that a retry does no more than that. Outside
-- the event chain, since a pattern of admins can name people.
ALTER TABLE run ADD COLUMN request TEXT;

-- `skipped` is from here on a host of which nothing was wanted; one that was not begun goes on waiting, in every part of the run.
UPDATE run_host SET phase = 'waiting', result = NULL WHERE result = 'skipped';
