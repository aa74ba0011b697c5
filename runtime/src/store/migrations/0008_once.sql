-- Calls that were to take place once: what was asked, and what was answered, until a day later.
CREATE TABLE once (
  key BLOB NOT NULL,
  name TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  at INTEGER NOT NULL,
  status INTEGER,
  kind TEXT,
  body BLOB,
  PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_by_age ON once (at);
