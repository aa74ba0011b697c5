-- What ran where no attempt of its own says so: at the successes of a block, and how a destination failed whose backlog was given up.
ALTER TABLE delivery_blocks ADD COLUMN version BLOB;
ALTER TABLE dead ADD COLUMN outcome TEXT;
