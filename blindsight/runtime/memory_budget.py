"""A memory budget that calls share: a call that finds too little left waits in a queue, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from blindsight.errors import ResourceExhausted


class MemoryBudget:
    """A number of bytes that all calls together may hold.

    Use either `take` or `reserve` with one budget: a release by `take` does not wake waiters of `reserve`.

    Args:
        total_bytes: bytes of all calls together.
        what: what takes memory, for error messages: "appends".
        most_waiting: maximum number of calls that wait; None: unlimited.
        advice: what a refused caller can do, for error messages.
    """

    def __init__(
        self, total_bytes: int, what: str, most_waiting: int | None = None, advice: str = "retry later"
    ) -> None:
        self.total_bytes = total_bytes
        self._what = what
        self._advice = advice
        self._most_waiting = most_waiting
        self._free = total_bytes
        self._waiting = 0
        self._released = asyncio.Event()
        # Only the first in the queue waits for memory: else small calls could overtake a large one for ever.
        self._queue = asyncio.Lock()

    @property
    def held_bytes(self) -> int:
        """The bytes that calls hold now."""
        return self.total_bytes - self._free

    @property
    def waiting(self) -> int:
        """The number of calls that wait."""
        return self._waiting

    def has_room(self, size_bytes: int) -> bool:
        """Returns whether a call for this many bytes would not have to wait."""
        return not self._waiting and size_bytes <= self._free

    @contextmanager
    def take(self, size_bytes: int) -> Iterator[None]:
        """Holds this many bytes while the block runs; never waits.

        Raises:
            ResourceExhausted: if fewer bytes are free.
        """
        if size_bytes > self._free:
            raise ResourceExhausted(f"too many {self._what} at once; {self._advice}")
        self._free -= size_bytes
        try:
            yield
        finally:
            self._free += size_bytes

    @asynccontextmanager
    async def reserve(self, size_bytes: int) -> AsyncIterator[None]:
        """Holds this many bytes while the block runs; waits for them, first come, first served.

        Raises:
            ResourceExhausted: without waiting, if the budget is smaller than that, or too many calls wait.
        """
        self.require(size_bytes)
        self._waiting += 1
        try:
            async with self._queue:
                while self._free < size_bytes:
                    self._released.clear()
                    await self._released.wait()
                self._free -= size_bytes
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free += size_bytes
            self._released.set()

    def require(self, size_bytes: int) -> None:
        """Checks that `reserve` would not refuse this many bytes.

        Raises:
            ResourceExhausted: if the budget is smaller than that, or too many calls wait.
        """
        if size_bytes > self.total_bytes:
            raise ResourceExhausted(
                f"{self._what}: about {size_bytes} bytes of memory, want at most {self.total_bytes}"
            )
        full = self._most_waiting is not None and self._waiting >= self._most_waiting
        if full and not self.has_room(size_bytes):
            raise ResourceExhausted(
                f"{self._waiting} wait for memory already, want at most {self._most_waiting}: {self._advice}"
            )
