-- Secret settings, sealed: no plain text of one is in this file.

-- What a workspace's secrets are sealed with, wrapped by a master key that is not here (see src/vault).
CREATE TABLE data_keys (
  workspace BLOB PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
  master TEXT NOT NULL,
  wrapped BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- `revealed`: the function version for which it was saved could read it, and the customer saw that.
CREATE TABLE secrets (
  destination BLOB NOT NULL REFERENCES destinations (id) ON DELETE CASCADE,
  field TEXT NOT NULL,
  version INTEGER NOT NULL,
  revealed INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (destination, field)
) STRICT, WITHOUT ROWID;
