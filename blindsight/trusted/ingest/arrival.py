"""The times at which items came, by which lists order them."""

from __future__ import annotations

import threading
import time


class Clock:
    """A clock that says no time twice, so that what came later is later, however little.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> int:
        """Returns the microseconds since 1970, at least one more than before."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


now = Clock().now
"""Of this process."""
