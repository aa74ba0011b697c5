-- Message ids of the last commits, those of one commit in one row: 16 bytes each, side by side. In `seen` every one of them would
-- change a page of its own; they go there sorted, once many of them have come together.
CREATE TABLE seen_lately (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  hashes BLOB NOT NULL
) STRICT;
