-- What a function's author reads: attempts by version, in the order in which they were written. A number is never given
-- twice, so that whoever follows neither misses nor repeats one.
CREATE TABLE attempts_in_order (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  delivery BLOB NOT NULL,
  workspace BLOB NOT NULL,
  number INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  wall_ms INTEGER NOT NULL,
  version BLOB NOT NULL,
  outcome TEXT NOT NULL,
  report TEXT NOT NULL
) STRICT;
INSERT INTO attempts_in_order SELECT no, delivery, workspace, number, started_at, wall_ms, version, outcome, report
  FROM attempts ORDER BY no;
DROP TABLE attempts;
ALTER TABLE attempts_in_order RENAME TO attempts;
CREATE INDEX attempts_by_delivery ON attempts (delivery);
CREATE INDEX attempts_by_version ON attempts (version);
