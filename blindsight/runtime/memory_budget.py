"""Memory that calls share: a call that finds too little left waits for its turn, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from blindsight.errors import ResourceExhausted


class MemoryBudget:
    """So many bytes for all calls together; those of one `take` all or all `reserve`.

    Args:
        total_bytes: of all of them.
        what: takes memory, for messages: "appends".
        most_waiting: calls that may wait; None: any number.
        advice: what whoever is refused can do, for messages.
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
        # Whoever waits for memory waits alone, or small calls would overtake a large one for ever.
        self._queue = asyncio.Lock()

    @property
    def held_bytes(self) -> int:
        """What calls hold now."""
        return self.total_bytes - self._free

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._waiting

    def has_room(self, size_bytes: int) -> bool:
        """Whether a call for so many bytes would not have to wait."""
        return not self._waiting and size_bytes <= self._free

    @contextmanager
    def take(self, size_bytes: int) -> Iterator[None]:
        """Holds so many bytes for the caller, which does not wait.

        Raises:
            ResourceExhausted: when there are not so many left.
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
        """Holds so many bytes for the caller, after those who came before.

        Raises:
            ResourceExhausted: at once, when there are never so many, or when too many wait.
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
        """Refuses what `reserve` would refuse.

        Raises:
            ResourceExhausted: as there.
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
