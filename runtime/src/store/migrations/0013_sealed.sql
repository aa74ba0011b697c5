-- What is a customer's is sealed with the workspace's data key: events (in `event_blocks.data`, whose first byte says so), and what an
-- attempt came to. `outcome`, `report` and `cause` are empty where the sealed column is there; rows of older programs have them plain.
ALTER TABLE attempts ADD COLUMN sealed_outcome BLOB;
ALTER TABLE attempts ADD COLUMN sealed_report BLOB;
ALTER TABLE dead ADD COLUMN sealed_cause BLOB;
