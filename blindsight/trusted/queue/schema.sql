-- A message waits (no holder), is with a consumer (holder), or is dead (dead_reason).

CREATE TABLE messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of publishing
  message_id BLOB NOT NULL,
  job_id BLOB NOT NULL,
  size_bytes INTEGER NOT NULL,
  deliveries INTEGER NOT NULL DEFAULT 0,
  holder BLOB, -- in consumers
  dead_reason TEXT,
  dead_unix_seconds INTEGER
);
-- It has all that counting reads.
CREATE INDEX of_waiting ON messages (number, size_bytes, holder, dead_reason)
  WHERE holder IS NULL AND dead_reason IS NULL;
CREATE INDEX of_held ON messages (holder) WHERE holder IS NOT NULL;
CREATE INDEX of_dead ON messages (job_id) WHERE dead_reason IS NOT NULL;
CREATE VIEW waiting AS SELECT * FROM messages WHERE holder IS NULL AND dead_reason IS NULL;
CREATE VIEW dead AS SELECT * FROM messages WHERE dead_reason IS NOT NULL;

-- Apart, so that the small rows change without the large bytes being written again.
CREATE TABLE bodies (number INTEGER PRIMARY KEY, body BLOB NOT NULL);

CREATE TABLE consumers (
  consumer BLOB PRIMARY KEY,
  machine_start TEXT NOT NULL, -- which start of the machine the seconds are since
  expires_seconds REAL NOT NULL
);
