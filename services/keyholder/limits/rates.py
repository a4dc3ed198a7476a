"""Calls per second: a bucket for each key that fills at its rate, and from which each call takes one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from blindsight.errors import Busy


class Rates:
    """The buckets of all keys; they are full again after a restart.

    Args:
        clock: returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # What is in a bucket, and when that was.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, per_second: float, burst: int | None = None) -> None:
        """Takes one call from a bucket.

        Args:
            per_second: how fast it fills.
            burst: how much it holds; None: what comes in a second, and at least one.

        Raises:
            Busy: if it is empty; the message and `retry_seconds` say when it is not.
        """
        now, most = self._clock(), float(burst or max(1, math.ceil(per_second)))
        left, then = self._buckets.get(key, (most, now))
        left = min(most, left + (now - then) * per_second)
        if left < 1:
            self._buckets[key] = left, now
            wait = (1 - left) / per_second
            raise Busy(
                f"more than {per_second:g} requests a second, want the next one in {max(wait, 0.1):,.1f} s",
                retry_seconds=round(wait, 3),
            )
        self._buckets[key] = left - 1, now

    def forget(self, key: str) -> None:
        """Forgets a key."""
        self._buckets.pop(key, None)
