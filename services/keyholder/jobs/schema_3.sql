-- What is told of the items of a job: failures, and remarks on what is stored.
DROP INDEX failed_items;
CREATE INDEX told_items ON items (job, number) WHERE state = 4 OR message != '';
