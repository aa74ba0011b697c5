-- The version whose access the customer agreed to; and the one on which a destination stays that would otherwise follow
-- to one that may do more.
ALTER TABLE destinations ADD COLUMN consented BLOB;
ALTER TABLE destinations ADD COLUMN held BLOB;
UPDATE destinations SET consented = coalesce(pinned, (SELECT current FROM functions WHERE functions.id = function));
CREATE INDEX destinations_by_function ON destinations (function, workspace);

-- Destinations that customers miss, and who does.
CREATE TABLE wishes (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE wish_votes (
  wish BLOB NOT NULL REFERENCES wishes (id) ON DELETE CASCADE,
  workspace BLOB NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
  at INTEGER NOT NULL,
  PRIMARY KEY (wish, workspace)
) STRICT, WITHOUT ROWID;
