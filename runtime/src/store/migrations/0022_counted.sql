-- A function is found by its name, however many there are.
CREATE INDEX functions_by_name ON functions (name);

-- How many names of calls there are, of each tenant and in all: counted as they come and go, and not by reading all for each new one.
CREATE TABLE once_counts (
  tenant BLOB PRIMARY KEY,
  names INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO once_counts SELECT tenant, count(*) FROM once GROUP BY tenant;

CREATE TABLE once_total (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  names INTEGER NOT NULL
) STRICT;
INSERT INTO once_total SELECT 1, count(*) FROM once;

CREATE TRIGGER once_comes AFTER INSERT ON once BEGIN
  INSERT INTO once_counts (tenant, names) VALUES (NEW.tenant, 1) ON CONFLICT (tenant) DO UPDATE SET names = names + 1;
  UPDATE once_total SET names = names + 1;
END;
CREATE TRIGGER once_goes AFTER DELETE ON once BEGIN
  UPDATE once_counts SET names = names - 1 WHERE tenant = OLD.tenant;
  DELETE FROM once_counts WHERE tenant = OLD.tenant AND names = 0;
  UPDATE once_total SET names = names - 1;
END;
