"""Bulk ingest as long as a keyholder runs: a queue that is away keeps nobody from searching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from blindsight.errors import BlindsightError, Unavailable
from blindsight.runtime.retry import retry
from blindsight.trusted.queue import Queue
from services.keyholder.jobs.importer import Imports
from services.keyholder.jobs.store import JobStore

# A queue in a file opens at once, and so does a broker that is there; a start does not wait longer.
START_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 2.0


class BulkIngest:
    """Opens the queue, and has imports from then on.

    Args:
        store: the account of jobs; closed with this.
        open_queue: blocking.
        make: the imports of a queue.
    """

    def __init__(
        self, store: JobStore, open_queue: Callable[[], Queue], make: Callable[[Queue], Imports]
    ) -> None:
        self._store = store
        self._open_queue = open_queue
        self._make = make
        self._imports: Imports | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def imports(self) -> Imports:
        """The imports.

        Raises:
            Unavailable: as long as the queue does not answer.
            InvalidArgument, DataLoss: when it answered at last, and is not as it must be.
        """
        if self._imports is None:
            if self._opening is not None and self._opening.done():
                self._opening.result()
            raise Unavailable("the queue of bulk ingest does not answer")
        return self._imports

    async def start(self) -> None:
        """Opens the queue, in the background if it takes long.

        Raises:
            InvalidArgument, DataLoss: when it is not as it must be.
        """
        self._opening = asyncio.create_task(self._open())
        done, _ = await asyncio.wait({self._opening}, timeout=START_SECONDS)
        for task in done:
            task.result()

    async def _open(self) -> None:
        queue = await retry(
            "queue",
            partial(asyncio.to_thread, self._open_queue),
            on=(Unavailable,),
            longest_seconds=LONGEST_PAUSE_SECONDS,
        )
        self._imports = self._make(queue)
        self._imports.start()

    def drain(self) -> None:
        """See `Imports.drain`."""
        if self._imports is not None:
            self._imports.drain()

    async def close(self) -> None:
        """Closes queue and account."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError, BlindsightError):
                await self._opening
        if self._imports is not None:
            await self._imports.close()
        await asyncio.to_thread(self._store.close)
