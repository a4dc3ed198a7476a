"""Limits of time of the calls of both services."""

from __future__ import annotations

CALL_SECONDS = 30.0
STATUS_SECONDS = 3.0
# Writes hold their collection's lock.  Half a gigabyte over a slow line onto a slow disk takes less; a peer
# that answers pings and not the call does not keep the lock for ever.
LONG_CALL_SECONDS = 600.0
