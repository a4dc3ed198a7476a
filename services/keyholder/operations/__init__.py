"""Whole jobs that callers ask for: ingest, search, verification, weighted sums, planes."""
