-- Where a function stands on its way to customers. What there was before is for everybody, as it was.
ALTER TABLE functions ADD COLUMN stage TEXT NOT NULL DEFAULT 'public';

-- Since when customers may run a version; and what its findings and cases came to.
ALTER TABLE function_versions ADD COLUMN approved_at INTEGER;
ALTER TABLE function_versions ADD COLUMN checks TEXT;
UPDATE function_versions SET approved_at = created_at;

CREATE TABLE reviews (
  id BLOB PRIMARY KEY,
  partner BLOB NOT NULL,
  function BLOB NOT NULL REFERENCES functions (id),
  version BLOB NOT NULL REFERENCES function_versions (id),
  stage TEXT NOT NULL,
  state TEXT NOT NULL,
  checklist TEXT NOT NULL,
  wider TEXT NOT NULL,
  submitted_by BLOB NOT NULL,
  submitted_at INTEGER NOT NULL,
  decided_by BLOB,
  decided_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX reviews_open ON reviews (function) WHERE state = 'open';

CREATE TABLE review_comments (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  review BLOB NOT NULL REFERENCES reviews (id),
  key BLOB NOT NULL,
  role TEXT NOT NULL,
  at INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX comments_by_review ON review_comments (review, no);

-- Links to functions in private beta; of each only the hash of its code is kept.
CREATE TABLE invitations (
  id BLOB PRIMARY KEY,
  function BLOB NOT NULL REFERENCES functions (id),
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE function_guests (
  workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
  function BLOB NOT NULL REFERENCES functions (id),
  invitation BLOB NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (workspace, function)
) STRICT, WITHOUT ROWID;
