"""A memory budget that calls share: a call that finds too little left waits in a queue, or is refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from blindsight.errors import ResourceExhausted
from blindsight.runtime import callers


class MemoryBudget:
    """A number of bytes that all calls together may hold.

    Use either `take` or `reserve` with one budget: a release by `take` does not wake waiters of `reserve`.

    Args:
        total_bytes: bytes of all calls together.
        what: what takes memory, for error messages: "appends".
        most_waiting: maximum number of calls of each tenant that wait; None: unlimited.
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
        # By tenant, in the order of their turns.
        self._lines: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def held_bytes(self) -> int:
        """The bytes that calls hold now."""
        return self.total_bytes - self._free

    @property
    def waiting(self) -> int:
        """The number of calls that wait."""
        return sum(map(len, self._lines.values()))

    def has_room(self, size_bytes: int) -> bool:
        """Returns whether a call for this many bytes would not have to wait."""
        return not self._lines and size_bytes <= self._free

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
        """Holds this many bytes while the block runs; waits for them.

        Tenants are served in turn, and the calls of each in the order in which they came.

        Raises:
            ResourceExhausted: without waiting, if the budget is smaller than that, or too many calls wait.
        """
        self.require(size_bytes)
        if self.has_room(size_bytes):
            self._free -= size_bytes
        else:
            await self._wait(size_bytes)
        try:
            yield
        finally:
            self._free += size_bytes
            self._give()

    async def _wait(self, size_bytes: int) -> None:
        given = asyncio.get_running_loop().create_future()
        self._lines.setdefault(callers.tenant.get(), deque()).append((size_bytes, given))
        try:
            await given
        except BaseException:
            if not given.cancel() and not given.cancelled():  # it was given just then
                self._free += size_bytes
            self._give()
            raise

    def _give(self) -> None:
        """Gives memory to those whose turn it is; small calls never overtake a large one for ever."""
        lines = {one: deque(e for e in line if not e[1].cancelled()) for one, line in self._lines.items()}
        self._lines = {one: line for one, line in lines.items() if line}
        while self._lines:
            tenant = next(iter(self._lines))
            size_bytes, given = self._lines[tenant][0]
            if size_bytes > self._free:
                return
            self._free -= size_bytes
            given.set_result(None)
            line = self._lines.pop(tenant)
            line.popleft()
            if line:
                self._lines[tenant] = line  # behind the others

    def require(self, size_bytes: int) -> None:
        """Checks that `reserve` would not refuse this many bytes.

        Raises:
            ResourceExhausted: if the budget is smaller than that, or too many calls wait.
        """
        if size_bytes > self.total_bytes:
            raise ResourceExhausted(
                f"{self._what}: about {size_bytes} bytes of memory, want at most {self.total_bytes}"
            )
        waiting = len(self._lines.get(callers.tenant.get(), ()))
        full = self._most_waiting is not None and waiting >= self._most_waiting
        if full and not self.has_room(size_bytes):
            raise ResourceExhausted(
                f"{waiting} wait for memory already, want at most {self._most_waiting}: {self._advice}"
            )
