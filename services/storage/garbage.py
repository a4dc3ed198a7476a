from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from blindsight.errors import BlindsightError
from blindsight.runtime import logs
from services.storage.executors import Threads
from services.storage.stores import Store


class Sweeper:
    """The garbage collector of a store; it frees bytes slice by slice, so that appends run in between."""

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()

    async def sweep(self) -> None:
        """Frees bytes until nothing is left to free."""
        while await self._threads.write(self._store.sweep):
            pass

    def begin(self) -> None:
        """Starts a sweep in the background; if the process ends first, the next start continues it."""
        self._start(self.sweep)

    def drop(self, upload: bytes) -> None:
        """Frees in the background what was staged for an append that failed."""
        self._start(partial(self._drop, upload))

    async def _drop(self, upload: bytes) -> None:
        await self._threads.write(self._store.discard, upload)
        await self.sweep()

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(self._log_failure(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _log_failure(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except BlindsightError as error:
            logs.get().warning("sweep_failed", reason=error.reason)

    async def stop(self) -> None:
        """Cancels what runs in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
