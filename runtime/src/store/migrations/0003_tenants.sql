-- Keys of several roles. An operator's key belongs to no tenant, another's to exactly one.
CREATE TABLE keys_with_roles (
  id BLOB PRIMARY KEY,
  role TEXT NOT NULL,
  workspace BLOB REFERENCES workspaces (id),
  partner BLOB REFERENCES partners (id),
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  created_by BLOB,
  replaces BLOB,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER,
  CHECK ((role = 'operator') = (workspace IS NULL AND partner IS NULL)),
  CHECK (workspace IS NULL OR partner IS NULL)
) STRICT, WITHOUT ROWID;
-- The first characters of older tokens were not kept.
INSERT INTO keys_with_roles (id, role, name, prefix, hash, created_at)
  SELECT id, role, 'operator', 'tgk_', hash, created_at FROM keys;
DROP TABLE keys;
ALTER TABLE keys_with_roles RENAME TO keys;
CREATE INDEX keys_by_workspace ON keys (workspace);
CREATE INDEX keys_by_partner ON keys (partner);
