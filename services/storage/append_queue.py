"""Orders the appends to a collection, so that one that is too late is refused before its bytes are sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from blindsight.errors import Conflict

# A client that reads the slots again and encrypts some hundred vectors for other slots needs a tenth of this.
KEPT_SECONDS = 1.0


class AppendQueues:
    """The queues of appends: one append to a collection at a time, in the order of arrival.

    The order only saves bytes and work; the store decides whether appends conflict.  So both the wait and
    the turn are bounded, and a client that does not finish delays the others no longer than that.

    Args:
        seconds: the longest that a turn lasts, and the longest wait for one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # A collection's queue lives as long as an append uses it or its timer runs.
        self._queues: WeakValueDictionary[bytes, _Queue] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, collection_id: bytes, batch_id: bytes) -> AsyncIterator[None]:
        """Holds the collection's turn for an append while the block runs.

        An append whose turn does not come in time goes on without it.  One that ends with Conflict keeps its
        turn for `KEPT_SECONDS`, in which its sender may choose other slots and repeat it under the same id.
        """
        queue = await self._entered(collection_id, batch_id)
        try:
            yield
        except Conflict:
            queue.keep(batch_id, KEPT_SECONDS)
            raise
        except BaseException:
            queue.leave(batch_id)
            raise
        queue.leave(batch_id)

    async def take(self, collection_id: bytes, batch_id: bytes) -> None:
        """Waits for a batch's turn, and keeps it for `KEPT_SECONDS`, in which its sender may choose slots.

        Returns as well if the turn does not come in time.
        """
        queue = await self._entered(collection_id, batch_id)
        queue.keep(batch_id, KEPT_SECONDS)

    async def _entered(self, collection_id: bytes, batch_id: bytes) -> _Queue:
        queue = self._queues.setdefault(collection_id, _Queue(self._seconds))
        with suppress(TimeoutError):
            await queue.enter(batch_id)
        return queue


class _Queue:
    """The queue of one collection: the batch whose turn it is, and those that wait."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._holder: bytes | None = None
        self._ends = 0.0
        self._lapse: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()

    async def enter(self, batch_id: bytes) -> None:
        """Waits for a batch's turn.

        Raises:
            TimeoutError: if the turn does not come in time.
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
        """Limits the rest of a batch's turn to this many seconds, if it has the turn."""
        if self._holder == batch_id:
            self._lapse_at(min(self._ends, asyncio.get_running_loop().time() + seconds))

    def leave(self, batch_id: bytes) -> None:
        """Ends a batch's turn, if it has the turn."""
        if self._holder == batch_id:
            self._next()

    def _next(self) -> None:
        self._holder = None
        if self._lapse is not None:
            self._lapse.cancel()
        while self._waiting and self._holder is None:
            batch_id, turn = self._waiting.popleft()
            if not turn.done():  # else it has stopped waiting
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
