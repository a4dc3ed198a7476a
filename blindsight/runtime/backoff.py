"""How long to wait before something that failed is tried again, and for how long it is."""

from __future__ import annotations

import math
import random
import time

# As long as a container takes to drain, to end, and to start again.
RETRY_SECONDS = 30.0


class Backoff:
    """Pauses of one call that fails again and again: each is twice as long as the one before.

    Args:
        seconds: how long the call is repeated, from its first failure on; 0 for not at all.
        first_seconds, longest_seconds: the first pause, and what pauses grow to.
        jitter: the part of a pause that is left to chance, 0 to 1, so that callers come back one by one.
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
        """Begins anew, since something worked: the next failure is the first again."""
        self._ends: float | None = None
        self._next = min(self._first_seconds, self._longest_seconds)

    def pause(self) -> float:
        """Seconds to wait after a failure, whatever time is left."""
        longest, self._next = self._next, min(2 * self._next, self._longest_seconds)
        return random.uniform((1 - self._jitter) * longest, longest)

    def pause_in_time(self) -> float | None:
        """Seconds to wait after a failure; None when the time is over."""
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + self._seconds
        return min(self.pause(), self._ends - now) if now < self._ends else None

    @property
    def left_seconds(self) -> float:
        """How long the call is still repeated."""
        return self._seconds if self._ends is None else max(0.0, self._ends - time.monotonic())
