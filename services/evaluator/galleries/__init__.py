"""Galleries that are ready to be scored: files in the cache, brought up to date with storage's log."""
