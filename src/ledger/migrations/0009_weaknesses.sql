-- Ways past the code that were last seen on a host: a JSON list; NULL where nobody looked.
ALTER TABLE host ADD COLUMN weaknesses TEXT;
