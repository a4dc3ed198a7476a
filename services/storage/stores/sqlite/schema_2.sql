-- Brings a database of schema version 1 to version 2.

ALTER TABLE collections ADD COLUMN plane_items INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collections ADD COLUMN plane_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collections ADD COLUMN fields TEXT NOT NULL DEFAULT '';

-- Encrypted pixel planes of an item; the row's own digest binds the geometry to the pieces.
CREATE TABLE planes (
  content INTEGER PRIMARY KEY REFERENCES contents (number),
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  channels INTEGER NOT NULL,
  halo INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, -- of all pieces
  row_sha256 BLOB NOT NULL
);
CREATE TABLE plane_pieces (
  content INTEGER NOT NULL REFERENCES planes (content),
  position INTEGER NOT NULL, -- from 0
  blob INTEGER NOT NULL, -- in blobs
  size_bytes INTEGER NOT NULL,
  sha256 BLOB NOT NULL,
  PRIMARY KEY (content, position)
) WITHOUT ROWID;

-- Pieces of appends that are on their way in; what a process left here is garbage to the next.
CREATE TABLE staged (
  upload BLOB NOT NULL,
  position INTEGER NOT NULL,
  blob INTEGER NOT NULL, -- in blobs
  size_bytes INTEGER NOT NULL,
  sha256 BLOB NOT NULL,
  PRIMARY KEY (upload, position)
) WITHOUT ROWID;
