"""How long a call is repeated while a service is away, and after which pauses."""

from __future__ import annotations

import random
import time

# As long as a container takes to drain, to end, and to start again.
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class Patience:
    """Of one call: it begins to run out at the first failure.

    Args:
        seconds: how long the call is repeated; 0 for not at all.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Something worked: the next failure is the first again."""
        self._ends: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    def pause(self) -> float | None:
        """Seconds to wait after a failure, a little by chance: callers come one by one; None for no more."""
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + self.seconds
        if now >= self._ends:
            return None
        longest, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        return min(random.uniform(longest / 2, longest), self._ends - now)

    @property
    def left_seconds(self) -> float:
        """How long it still lasts."""
        return self.seconds if self._ends is None else max(0.0, self._ends - time.monotonic())
