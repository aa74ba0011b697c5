-- What a person gave back: since when its retry window counts, which version it is to run if not the destination's,
-- and the replay that gave it back.
ALTER TABLE retries ADD COLUMN since INTEGER;
ALTER TABLE retries ADD COLUMN version BLOB;
ALTER TABLE retries ADD COLUMN replay INTEGER;

-- Set where a replay owes events anew that were delivered before: the block then holds only those.
ALTER TABLE delivery_blocks ADD COLUMN replay INTEGER;
CREATE INDEX blocks_dead_by_destination ON delivery_blocks (destination, seq) WHERE dead > 0;

-- `until` is the last delivery block that the replay looks at, so that it never meets what it made itself.
CREATE TABLE replays (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  workspace BLOB NOT NULL,
  state TEXT NOT NULL,
  filter TEXT NOT NULL,
  version TEXT NOT NULL,
  events_per_s INTEGER NOT NULL,
  until INTEGER NOT NULL,
  matching INTEGER NOT NULL,
  released INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  filtered INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  ended_at INTEGER
) STRICT;
CREATE INDEX replays_by_workspace ON replays (workspace, no);
CREATE INDEX replays_unfinished ON replays (workspace) WHERE ended_at IS NULL;

-- Where a replay goes on, for each destination: it has looked at everything before this position of this block.
CREATE TABLE replay_parts (
  replay INTEGER NOT NULL REFERENCES replays (no) ON DELETE CASCADE,
  destination BLOB NOT NULL,
  seq INTEGER NOT NULL,
  position INTEGER NOT NULL,
  done INTEGER NOT NULL,
  PRIMARY KEY (replay, destination)
) STRICT, WITHOUT ROWID;

-- What a replay left as it was, and why.
CREATE TABLE replay_skipped (
  replay INTEGER NOT NULL REFERENCES replays (no) ON DELETE CASCADE,
  reason TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (replay, reason)
) STRICT, WITHOUT ROWID;
