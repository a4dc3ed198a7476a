"""Appends to one collection take turns: who would come too late is told before its bytes come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from blindsight.errors import Conflict

# Reading the slots again and encrypting some hundred vectors for others takes a tenth of it.
KEPT_SECONDS = 1.0


class Turns:
    """One append to a collection at a time, in the order in which they came.

    Turns spare bytes and work; that appends fit together is the store's to decide.  So both ends of a turn
    are bounded, and a peer that sits on its own delays others no longer than that.

    Args:
        seconds: a turn lasts no longer, and nobody waits longer for one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # A line lives as long as somebody stands in it, or its timer runs.
        self._lines: WeakValueDictionary[bytes, _Line] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, collection_id: bytes, batch_id: bytes) -> AsyncIterator[None]:
        """Around an append: waits for its turn.

        One that ends with Conflict keeps its turn for a moment, in which its sender may place the batch
        anew and come again under the same id.
        """
        line = await self._entered(collection_id, batch_id)
        try:
            yield
        except Conflict:
            line.keep(batch_id, KEPT_SECONDS)
            raise
        except BaseException:
            line.leave(batch_id)
            raise
        line.leave(batch_id)

    async def take(self, collection_id: bytes, batch_id: bytes) -> None:
        """Waits for a batch's turn, and keeps it for a moment, in which its sender may place the batch."""
        line = await self._entered(collection_id, batch_id)
        line.keep(batch_id, KEPT_SECONDS)

    async def _entered(self, collection_id: bytes, batch_id: bytes) -> _Line:
        line = self._lines.setdefault(collection_id, _Line(self._seconds))
        with suppress(TimeoutError):
            await line.enter(batch_id)
        return line


class _Line:
    """Who appends to a collection, and who waits for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._holder: bytes | None = None
        self._ends = 0.0
        self._lapse: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()

    async def enter(self, batch_id: bytes) -> None:
        """Waits for a batch's turn.

        Raises:
            TimeoutError: when it does not come in time.
        """
        if self._holder is None:
            self._give(batch_id)
        if self._holder == batch_id:
            self._lapse_at(self._ends)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((batch_id, turn))
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException:
            self.leave(batch_id)  # its turn may have come just then
            raise

    def keep(self, batch_id: bytes, seconds: float) -> None:
        """Leaves a batch its turn, where it has it, for so long at most."""
        if self._holder == batch_id:
            self._lapse_at(min(self._ends, asyncio.get_running_loop().time() + seconds))

    def leave(self, batch_id: bytes) -> None:
        """Ends a batch's turn, where it has it."""
        if self._holder == batch_id:
            self._next()

    def _next(self) -> None:
        self._holder = None
        if self._lapse is not None:
            self._lapse.cancel()
        while self._waiting and self._holder is None:
            batch_id, turn = self._waiting.popleft()
            if not turn.done():  # else it did not wait so long
                self._give(batch_id)
                turn.set_result(None)

    def _give(self, batch_id: bytes) -> None:
        self._holder = batch_id
        self._ends = asyncio.get_running_loop().time() + self._seconds
        self._lapse_at(self._ends)

    def _lapse_at(self, moment: float) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
        self._lapse = asyncio.get_running_loop().call_at(moment, self._next)
