"""Galleries that are ready to be scored: files in the cache, kept up to date with storage's log."""
