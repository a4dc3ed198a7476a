"""The operations that clients request: ingest, search, verification, weighted sums, planes."""
