-- The batch log is the truth about which item lies where; `live` finds an item in it.

CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (0); -- it is noted at the end

CREATE TABLE collections (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of creation
  collection_id BLOB NOT NULL UNIQUE,
  name_tag BLOB NOT NULL UNIQUE,
  sealed_config BLOB NOT NULL,
  parameter_set TEXT NOT NULL,
  key_id BLOB NOT NULL,
  dimension INTEGER NOT NULL,
  stride INTEGER NOT NULL,
  created_unix_seconds INTEGER NOT NULL,
  sequence INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,
  items INTEGER NOT NULL DEFAULT 0,
  items_added INTEGER NOT NULL DEFAULT 0,
  size_bytes INTEGER NOT NULL DEFAULT 0,
  plane_items INTEGER NOT NULL DEFAULT 0,
  plane_bytes INTEGER NOT NULL DEFAULT 0,
  fields TEXT NOT NULL DEFAULT '', -- values of each, with commas between; '': one field
  chain BLOB NOT NULL -- of the newest link
);

-- The newest lease of each key set.  How long it lasts is in memory: after a start it lasts anew.
CREATE TABLE leases (
  key_id BLOB PRIMARY KEY,
  fencing_token INTEGER NOT NULL,
  holder_id BLOB NOT NULL -- empty: it was given back
) WITHOUT ROWID;

-- What the owner says of each write, so that what is given out can be told from what was written.
CREATE TABLE links (
  collection INTEGER NOT NULL REFERENCES collections (number),
  sequence INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  previous BLOB NOT NULL,
  root BLOB NOT NULL,
  chain BLOB NOT NULL,
  PRIMARY KEY (collection, sequence)
) WITHOUT ROWID;

-- Answers of all appends there ever were, so that a repeated one gets the same.
CREATE TABLE appends (
  collection INTEGER NOT NULL REFERENCES collections (number),
  batch_id BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  PRIMARY KEY (collection, batch_id)
) WITHOUT ROWID;

CREATE TABLE segments (
  collection INTEGER NOT NULL REFERENCES collections (number),
  region INTEGER NOT NULL,
  position INTEGER NOT NULL, -- index of the segment in its region
  filled INTEGER NOT NULL, -- slots
  batches INTEGER NOT NULL,
  retired_sequence INTEGER, -- NULL while it is in use
  PRIMARY KEY (collection, region, position)
) WITHOUT ROWID;

-- Large bytes.  Rows that have no owner any more stand in `garbage` until they are swept.  The number of one that
-- was lost is not used again (AUTOINCREMENT), or what still names it would take another with it when it goes.
CREATE TABLE blobs (number INTEGER PRIMARY KEY AUTOINCREMENT, bytes BLOB NOT NULL);
CREATE TABLE garbage (blob INTEGER PRIMARY KEY); -- in blobs, unless it was lost

CREATE TABLE batches (
  number INTEGER PRIMARY KEY,
  collection INTEGER NOT NULL REFERENCES collections (number),
  sequence INTEGER NOT NULL,
  region INTEGER NOT NULL,
  position INTEGER NOT NULL,
  first_slot INTEGER NOT NULL,
  count INTEGER NOT NULL,
  block INTEGER NOT NULL, -- in blobs
  block_size_bytes INTEGER NOT NULL,
  block_sha256 BLOB NOT NULL,
  row_sha256 BLOB NOT NULL, -- of everything else in this row that a reader is told
  handles BLOB NOT NULL, -- 16 bytes an item, zeros where it was deleted; last with the next, for they are long
  versions BLOB NOT NULL, -- 8 bytes an item, zeros without one; empty if no item has one
  UNIQUE (collection, sequence)
);
CREATE INDEX batches_of_segment ON batches (collection, region, position, first_slot);

-- One row an item that has metadata or an original.
CREATE TABLE contents (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- as of blobs
  metadata BLOB NOT NULL,
  metadata_sha256 BLOB NOT NULL,
  original INTEGER, -- in blobs
  original_size_bytes INTEGER NOT NULL,
  original_sha256 BLOB
);

-- A second sealed thing of an item.
CREATE TABLE attachments (
  content INTEGER PRIMARY KEY REFERENCES contents (number),
  blob INTEGER NOT NULL, -- in blobs
  size_bytes INTEGER NOT NULL,
  sha256 BLOB NOT NULL
);

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

-- Handles are random: among a million, those of one batch touch nearly every page.  So they gather in a
-- small part of the index first, and move to the large part many batches at a time.
CREATE TABLE live (
  collection INTEGER NOT NULL,
  settled INTEGER NOT NULL, -- 0 or 1; a handle stands in one of the two
  handle BLOB NOT NULL,
  sequence INTEGER NOT NULL, -- of its batch
  place INTEGER NOT NULL, -- in its batch, from 0
  content INTEGER, -- in contents
  PRIMARY KEY (collection, settled, handle)
) WITHOUT ROWID;
