-- Who changed what: one line for each change, written with it. `hash` covers the line and the hash of the line before it.
CREATE TABLE audit (
  no INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  key BLOB NOT NULL,
  role TEXT NOT NULL,
  action TEXT NOT NULL,
  id TEXT NOT NULL,
  workspace BLOB,
  partner BLOB,
  before TEXT,
  after TEXT,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_workspace ON audit (workspace, no);
CREATE INDEX audit_by_partner ON audit (partner, no);
CREATE TRIGGER audit_lines_stay BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never changed'); END;
CREATE TRIGGER audit_lines_remain BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are never deleted'); END;

-- The last line's number and hash, so that a line that is cut off the end is missed, and the key of the digests.
CREATE TABLE audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  no INTEGER NOT NULL,
  hash BLOB NOT NULL,
  key BLOB NOT NULL
) STRICT;
INSERT INTO audit_head VALUES (1, 0, zeroblob(32), randomblob(32));
