-- A page is written for each of these trees whenever a block comes, and for most of them again when it is settled.

-- Blocks that did not come with their events, or came before they were numbered so that those are found by number.
ALTER TABLE delivery_blocks ADD COLUMN apart INTEGER NOT NULL DEFAULT 1;
CREATE INDEX blocks_apart ON delivery_blocks (event_block) WHERE apart = 1;
DROP INDEX blocks_by_event_block;

-- What is owed, one way to all of it: first what was tried, then what is fresh. A workspace's blocks are those of its destinations.
CREATE INDEX blocks_owed ON delivery_blocks (destination, fresh > 0) WHERE open > 0;
DROP INDEX blocks_fresh;
DROP INDEX blocks_open;
DROP INDEX blocks_dead;
DROP INDEX blocks_by_workspace;

-- Never changes after a row was made, so it costs none of its updates anything.
CREATE INDEX counters_by_workspace ON counters (workspace, destination);
