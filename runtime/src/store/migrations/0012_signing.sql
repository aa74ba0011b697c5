-- Keys with which partners sign uploads: public halves only.
CREATE TABLE signing_keys (
  id BLOB PRIMARY KEY,
  partner BLOB NOT NULL REFERENCES partners (id),
  name TEXT NOT NULL,
  public BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  created_by BLOB NOT NULL,
  revoked_at INTEGER,
  UNIQUE (partner, public)
) STRICT, WITHOUT ROWID;

-- Whether a partner's unsigned uploads are refused.
ALTER TABLE partners ADD COLUMN requires_signatures INTEGER NOT NULL DEFAULT 0;

-- Who signed a version, and its place among the signed ones of its function.
ALTER TABLE function_versions ADD COLUMN signing_key BLOB;
ALTER TABLE function_versions ADD COLUMN sequence INTEGER;
ALTER TABLE function_versions ADD COLUMN signature TEXT;
