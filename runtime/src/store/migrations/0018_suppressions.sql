-- Users of whom nothing is taken or delivered any more. Their ids stand plain: they have to be found, and shown.
CREATE TABLE suppressions (
  id BLOB PRIMARY KEY,
  workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
  user_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (workspace, user_id)
) STRICT, WITHOUT ROWID;
