-- Why a rotation was asked for; NULL for everything else.
ALTER TABLE generation ADD COLUMN reason TEXT;
ALTER TABLE generation ADD COLUMN ticket TEXT;
