"""Whole jobs that callers ask for: search, comparison, weighted sums."""
