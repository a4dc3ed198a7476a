"""The audit log: records of who did what, chained by keyed hashes, and what is wrong with them."""
