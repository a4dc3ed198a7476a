CREATE TABLE twins (
  collection_id BLOB PRIMARY KEY,
  twin_id BLOB NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- Where an item was when it was copied: what is elsewhere, or has another version, is copied again.
CREATE TABLE items (
  collection_id BLOB NOT NULL REFERENCES twins,
  handle BLOB NOT NULL,
  place BLOB NOT NULL,
  copy BLOB NOT NULL,
  PRIMARY KEY (collection_id, handle)
) STRICT, WITHOUT ROWID;
