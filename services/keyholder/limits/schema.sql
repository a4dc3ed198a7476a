-- What was asked on a day, for the current one and the one before.

CREATE TABLE used (
  key TEXT NOT NULL, -- of who asked
  day INTEGER NOT NULL, -- since 1970, in UTC
  queries INTEGER NOT NULL, -- at most so many were asked
  PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;
