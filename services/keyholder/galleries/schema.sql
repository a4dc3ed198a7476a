-- Sealed: what opens and checks the evaluator's answers.  All of it can be made again from storage's log.

CREATE TABLE galleries (
  collection BLOB PRIMARY KEY,
  sequence INTEGER NOT NULL, -- of the log, for which all rows of the collection are
  epoch INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sums (
  collection BLOB NOT NULL REFERENCES galleries (collection),
  region INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (collection, region)
);

CREATE TABLE segments (
  collection BLOB NOT NULL REFERENCES galleries (collection),
  region INTEGER NOT NULL,
  position INTEGER NOT NULL, -- index of the segment in its region
  sealed BLOB NOT NULL,
  PRIMARY KEY (collection, region, position)
);
