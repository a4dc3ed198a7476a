from __future__ import annotations

import asyncio

from blindsight import logs
from blindsight.errors import BlindsightError
from blindsight.untrusted.storage.stores import Store
from blindsight.untrusted.storage.threads import Threads


class Sweeper:
    """Frees the bytes that nothing refers to any more, slice by slice, so that appends get their turn."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()

    async def sweep(self) -> None:
        """Returns when nothing is left to free."""
        while await self._threads.write(self._store.sweep):
            pass

    def begin(self) -> None:
        """Sweeps in the background; what an end of the process leaves over, the next start takes up."""
        task = asyncio.create_task(self._sweep_and_log())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_and_log(self) -> None:
        try:
            await self.sweep()
        except BlindsightError as error:
            logs.get().warning("sweep_failed", reason=error.reason)

    async def stop(self) -> None:
        """Ends what runs in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
