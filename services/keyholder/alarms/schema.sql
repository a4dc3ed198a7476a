-- Refused answers that the owner has not acknowledged.

CREATE TABLE alarms (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- grows with each refused answer; none is given twice
  alarm BLOB NOT NULL -- sealed: of which collection, why, how often, when
) STRICT;
