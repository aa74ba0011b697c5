-- Ids are the 16 bytes of a UUID v7; times are milliseconds since 1970 UTC.
-- Every row belongs to a workspace or to a partner.

CREATE TABLE workspaces (
  no INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE partners (
  no INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
  id BLOB PRIMARY KEY,
  role TEXT NOT NULL,
  workspace BLOB NOT NULL REFERENCES workspaces (id),
  partner BLOB NOT NULL REFERENCES partners (id),
  hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE functions (
  id BLOB PRIMARY KEY,
  partner BLOB NOT NULL REFERENCES partners (id),
  name TEXT NOT NULL,
  current BLOB NOT NULL,
  previous BLOB,
  created_at INTEGER NOT NULL,
  UNIQUE (partner, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE function_versions (
  id BLOB PRIMARY KEY,
  partner BLOB NOT NULL REFERENCES partners (id),
  function BLOB NOT NULL REFERENCES functions (id),
  digest BLOB NOT NULL,
  manifest TEXT NOT NULL,
  size INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (function, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE sources (
  id BLOB PRIMARY KEY,
  workspace BLOB NOT NULL REFERENCES workspaces (id),
  name TEXT NOT NULL,
  write_key TEXT NOT NULL UNIQUE,
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (workspace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE destinations (
  id BLOB PRIMARY KEY,
  workspace BLOB NOT NULL REFERENCES workspaces (id),
  name TEXT NOT NULL,
  function BLOB NOT NULL REFERENCES functions (id),
  pinned BLOB REFERENCES function_versions (id),
  settings TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (workspace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE connections (
  id BLOB PRIMARY KEY,
  workspace BLOB NOT NULL REFERENCES workspaces (id),
  source BLOB NOT NULL REFERENCES sources (id),
  destination BLOB NOT NULL REFERENCES destinations (id),
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (source, destination)
) STRICT, WITHOUT ROWID;
CREATE INDEX connections_by_destination ON connections (destination);

-- The events of one commit from one source. `data` is the compact form that codec.rs describes.
CREATE TABLE event_blocks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  workspace BLOB NOT NULL,
  source BLOB NOT NULL,
  accepted_at INTEGER NOT NULL,
  count INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

-- What one connection owes of one event block: a byte of state for every event of the block.
-- `fresh`, `open` and `dead` count its positions that were never settled, are still owed, were given up.
CREATE TABLE delivery_blocks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  workspace BLOB NOT NULL,
  source BLOB NOT NULL,
  connection BLOB NOT NULL,
  destination BLOB NOT NULL,
  event_block INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL,
  fresh INTEGER NOT NULL,
  open INTEGER NOT NULL,
  dead INTEGER NOT NULL,
  states BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_event_block ON delivery_blocks (event_block);
CREATE INDEX blocks_by_workspace ON delivery_blocks (workspace, seq);
CREATE INDEX blocks_by_destination ON delivery_blocks (destination, seq);
CREATE INDEX blocks_fresh ON delivery_blocks (destination, seq) WHERE fresh > 0;
CREATE INDEX blocks_open ON delivery_blocks (workspace, seq) WHERE open > 0;
CREATE INDEX blocks_dead ON delivery_blocks (workspace, seq) WHERE dead > 0;

-- Only what failed and will be tried again. `attempts` were made so far.
CREATE TABLE retries (
  delivery BLOB PRIMARY KEY,
  workspace BLOB NOT NULL,
  destination BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX retries_by_due ON retries (destination, due_at);

-- Only what was given up, with the cause.
CREATE TABLE dead (
  delivery BLOB PRIMARY KEY,
  workspace BLOB NOT NULL,
  destination BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  at INTEGER NOT NULL,
  cause TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every failed attempt, and a sample of the others.
CREATE TABLE attempts (
  no INTEGER PRIMARY KEY,
  delivery BLOB NOT NULL,
  workspace BLOB NOT NULL,
  number INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL,
  version BLOB NOT NULL,
  outcome TEXT NOT NULL,
  report TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_by_delivery ON attempts (delivery);

-- The ledger, one row for each connection that ever owed something. The `pruned_` columns count
-- what has left the block tables, so that a recount of those tables can be compared.
CREATE TABLE counters (
  connection BLOB PRIMARY KEY,
  workspace BLOB NOT NULL,
  source BLOB NOT NULL,
  destination BLOB NOT NULL,
  accepted INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  filtered INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  pending INTEGER NOT NULL DEFAULT 0,
  pruned_delivered INTEGER NOT NULL DEFAULT 0,
  pruned_filtered INTEGER NOT NULL DEFAULT 0,
  pruned_dead INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Endings of attempts by minute. The minute leads so that old ones are one range.
CREATE TABLE minutes (
  minute INTEGER NOT NULL,
  connection BLOB NOT NULL,
  outcome TEXT NOT NULL,
  workspace BLOB NOT NULL,
  count INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL,
  PRIMARY KEY (minute, connection, outcome)
) STRICT, WITHOUT ROWID;

-- Message ids of the last day; the source is part of the hash. The day leads so that old ones are one range.
CREATE TABLE seen (
  day INTEGER NOT NULL,
  hash BLOB NOT NULL,
  at INTEGER NOT NULL,
  workspace INTEGER NOT NULL,
  PRIMARY KEY (day, hash)
) STRICT, WITHOUT ROWID;
