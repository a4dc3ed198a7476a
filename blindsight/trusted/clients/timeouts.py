"""Time limits of calls to both services."""

from __future__ import annotations

CALL_SECONDS = 30.0
STATUS_SECONDS = 3.0
# Writes hold their collection's lock.  Half a gigabyte over a slow line onto a slow disk takes less; a
# service that answers pings but not the call must not keep the lock forever.
LONG_CALL_SECONDS = 600.0
