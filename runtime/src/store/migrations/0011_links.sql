-- Links that open one session each. The signed text of a link is kept nowhere; what it is signed over is this row.
CREATE TABLE links (
  id BLOB PRIMARY KEY,
  workspace BLOB NOT NULL REFERENCES workspaces (id),
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  destination BLOB,
  session_s INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  opened_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_workspace ON links (workspace, id);

-- A session is a key that a link made, held to the link's destination if it names one.
ALTER TABLE keys ADD COLUMN link BLOB;
ALTER TABLE keys ADD COLUMN destination BLOB;
CREATE INDEX keys_by_link ON keys (link) WHERE link IS NOT NULL;
