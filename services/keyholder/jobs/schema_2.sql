-- 0: it has not ended, or not yet.
ALTER TABLE jobs ADD COLUMN ended_unix_seconds INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET ended_unix_seconds = strftime('%s', 'now') WHERE state IN (3, 4);

-- A photo that a worker opens alone; a row that stays is of a worker that died.
CREATE TABLE trials (
  job INTEGER NOT NULL REFERENCES jobs,
  number INTEGER NOT NULL,
  trial_id BLOB NOT NULL,
  PRIMARY KEY (job, number, trial_id)
) STRICT, WITHOUT ROWID;
