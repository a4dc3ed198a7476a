"""Time limits of calls to both services."""

from __future__ import annotations

CALL_SECONDS = 30.0
STATUS_SECONDS = 3.0
# Until something moves: storage reads a large block from a slow disk, or commits half a gigabyte to one.
# Some of these calls hold their collection's lock.
STORAGE_SILENCE_SECONDS = 60.0
# The evaluator sends results while it computes; no piece of an additive scheme takes as long.
EVALUATOR_SILENCE_SECONDS = 300.0
# Deleting a large collection is one call without signs of life.
DELETE_SECONDS = 600.0
