-- The newest point of each collection's log that this keyholder has seen.

CREATE TABLE heads (
  collection BLOB PRIMARY KEY,
  name BLOB NOT NULL, -- sealed
  sequence INTEGER NOT NULL,
  chain BLOB NOT NULL, -- of all that was written up to the sequence
  state INTEGER NOT NULL -- storage must have it (1), may have it (2), must not have it (3)
) STRICT, WITHOUT ROWID;
