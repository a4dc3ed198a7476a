-- Brings a database of schema version 2 to version 3.

-- A second sealed thing of an item.
CREATE TABLE attachments (
  content INTEGER PRIMARY KEY REFERENCES contents (number),
  blob INTEGER NOT NULL, -- in blobs
  size_bytes INTEGER NOT NULL,
  sha256 BLOB NOT NULL
);
