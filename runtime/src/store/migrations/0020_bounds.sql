-- Versions are looked up by their text at every upload, and every time somebody names one.
CREATE INDEX function_versions_by_text ON function_versions (function, json_extract(manifest, '$.version'));
CREATE INDEX function_versions_by_age ON function_versions (function, id);

-- Whose call it was, so that nobody's many names push out another tenant's.
ALTER TABLE once ADD COLUMN tenant BLOB NOT NULL DEFAULT x'';
CREATE INDEX once_by_tenant ON once (tenant, at);
