-- The text that a version was built of here, for its partner to see and change.
CREATE TABLE version_scripts (
  version BLOB PRIMARY KEY REFERENCES function_versions (id),
  file TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;
