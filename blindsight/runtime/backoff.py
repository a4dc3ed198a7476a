"""Exponential backoff: the pauses between attempts, and the time after which to give up."""

from __future__ import annotations

import math
import random
import time

# The time that a container takes to drain, to end, and to start again.
RETRY_SECONDS = 30.0


class Backoff:
    """The pauses of one call that fails repeatedly: each is twice as long as the one before.

    Args:
        seconds: how long the call is repeated, from its first failure on; 0: not at all.
        first_seconds, longest_seconds: the first pause, and the maximum that pauses grow to.
        jitter: random part of a pause, 0 to 1, so that callers do not all come back at the same time.
    """

    def __init__(
        self,
        seconds: float = math.inf,
        *,
        first_seconds: float = 0.1,
        longest_seconds: float = 2.0,
        jitter: float = 0.5,
    ) -> None:
        self._seconds = seconds
        self._first_seconds, self._longest_seconds = first_seconds, longest_seconds
        self._jitter = jitter
        self.reset()

    def reset(self) -> None:
        """Starts over after a success: the next failure counts as the first."""
        self._ends: float | None = None
        self._next = min(self._first_seconds, self._longest_seconds)

    def pause(self) -> float:
        """Returns the seconds to wait after a failure, regardless of the time left."""
        longest, self._next = self._next, min(2 * self._next, self._longest_seconds)
        return random.uniform((1 - self._jitter) * longest, longest)

    def pause_in_time(self) -> float | None:
        """Returns the seconds to wait after a failure; None if the time is over."""
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + self._seconds
        return min(self.pause(), self._ends - now) if now < self._ends else None

    @property
    def left_seconds(self) -> float:
        """The time for which the call is still repeated."""
        return self._seconds if self._ends is None else max(0.0, self._ends - time.monotonic())
