-- What was found when a version was uploaded (none for older ones), and whether it may still be chosen.
ALTER TABLE function_versions ADD COLUMN inspection TEXT;
ALTER TABLE function_versions ADD COLUMN state TEXT NOT NULL DEFAULT 'available';
ALTER TABLE function_versions ADD COLUMN reason TEXT;
