"""Opens bulk ingest in the background, so that the keyholder serves even while the queue is unavailable."""

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

# A start waits no longer for the queue: a file, or a broker that runs, opens at once.
START_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 2.0


class BulkIngest:
    """Bulk ingest, which is available once its queue is open.

    Args:
        store: the jobs; closed with this object.
        open_queue: opens the queue; blocking.
        make: makes the imports of a queue.
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
            Unavailable: if the queue has not answered yet.
            InvalidArgument, DataLoss: if the queue answered, but is misconfigured or damaged.
        """
        if self._imports is None:
            if self._opening is not None and self._opening.done():
                self._opening.result()
            raise Unavailable("the queue of bulk ingest does not answer")
        return self._imports

    async def start(self) -> None:
        """Opens the queue, in the background if it takes long.

        Raises:
            InvalidArgument, DataLoss: if the queue is misconfigured or damaged.
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
        """Calls `Imports.drain`, if the queue is open."""
        if self._imports is not None:
            self._imports.drain()

    async def close(self) -> None:
        """Closes the queue and the store."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError, BlindsightError):
                await self._opening
        if self._imports is not None:
            await self._imports.close()
        await asyncio.to_thread(self._store.close)
