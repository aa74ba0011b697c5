-- A destination that is paused keeps what comes until it goes on.
ALTER TABLE destinations ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
