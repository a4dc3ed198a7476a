-- Counters stand in the job, so that who watches a job of a million items reads one row.
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,
  job_id BLOB NOT NULL UNIQUE,
  collection_id BLOB NOT NULL,
  request_id TEXT NOT NULL UNIQUE,
  state INTEGER NOT NULL,
  created_unix_seconds INTEGER NOT NULL,
  received INTEGER NOT NULL DEFAULT 0,
  next_number INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0,
  duplicates INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE items (
  job INTEGER NOT NULL REFERENCES jobs,
  number INTEGER NOT NULL,
  message_id BLOB NOT NULL,
  state INTEGER NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  sealed_name BLOB NOT NULL,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX items_by_message ON items (job, message_id);
CREATE INDEX failed_items ON items (job, number) WHERE state = 4;
