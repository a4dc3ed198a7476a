-- Entries of items that have sealed metadata; of vectors that are nothing but an id there is none.
CREATE TABLE items (
  collection BLOB NOT NULL,
  handle BLOB NOT NULL,
  version BLOB NOT NULL, -- of the metadata, 8 bytes without marks
  id TEXT NOT NULL,
  added INTEGER NOT NULL, -- microseconds since 1970
  place BLOB NOT NULL, -- among those of the same time
  record TEXT NOT NULL, -- all of the metadata, as JSON
  has_values INTEGER NOT NULL, -- whether its owner said something of it
  PRIMARY KEY (collection, handle)
) WITHOUT ROWID;
CREATE INDEX items_by_id ON items (collection, id, place);
CREATE INDEX items_by_time ON items (collection, added, place);
CREATE INDEX items_with_values ON items (collection, handle) WHERE has_values;
