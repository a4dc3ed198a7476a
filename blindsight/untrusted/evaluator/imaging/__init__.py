"""Arithmetic on encrypted pixel planes: tiles come, are computed with, and go, a few at a time."""
