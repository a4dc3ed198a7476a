-- Leases by a clock that nobody can set.  Those of version 1 are over: their consumers are of the older program.
UPDATE messages SET holder = NULL;
DROP TABLE consumers;
CREATE TABLE consumers (
  consumer BLOB PRIMARY KEY,
  machine_start TEXT NOT NULL, -- which start of the machine the seconds are since
  expires_seconds REAL NOT NULL
);
