"""Who did what to which collection with which outcome: an append-only log, chained by keyed hashes."""
