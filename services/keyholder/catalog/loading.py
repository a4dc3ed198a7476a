"""Metadata of a collection on their way into memory, a little at a time, so that others get their turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice

from blindsight.runtime import logs
from blindsight.wire.metadata import Values
from services.keyholder.catalog.rows import Rows
from services.keyholder.catalog.store import CatalogStore

# Called with the number of items that are loaded, and that of all.
Report = Callable[[int, int], None]
# Milliseconds' worth: whoever puts an entry waits for as many.
_AT_ONCE = 512
_REPORT_SECONDS = 0.5


class Loading:
    """The loading of one collection's metadata, for which all filters that need them wait.

    It takes half of a core, and all of one while somebody waits.

    Args:
        store: has the metadata.
        collection_id: of the collection.
        rows: what they are loaded into.
    """

    def __init__(self, store: CatalogStore, collection_id: bytes, rows: Rows) -> None:
        self._store = store
        self._collection_id = collection_id
        self._rows = rows
        self._done = self._total = 0
        self._waiting = 0
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is not lost

    @property
    def over(self) -> bool:
        """Whether it has ended, or failed."""
        return self._task.done()

    async def wait(self, report: Report | None = None) -> None:
        """Waits for the end; one who stops waiting does not stop the loading.

        Raises:
            LookupError: if the file was damaged, and is empty now.
            DataLoss: if what an owner said of an item is damaged.
        """
        self._waiting += 1
        try:
            while not self._task.done():
                if report is not None and self._total:
                    report(self._done, self._total)
                await asyncio.wait({self._task}, timeout=_REPORT_SECONDS)
        finally:
            self._waiting -= 1
        self._raise()

    async def end(self) -> None:
        """Waits for the end without haste; see `wait`."""
        await asyncio.wait({self._task})
        self._raise()

    def _raise(self) -> None:
        if self._task.cancelled():
            raise LookupError("the catalog is made anew")
        self._task.result()

    async def close(self) -> None:
        """Stops the loading."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        began = time.monotonic()
        self._total = await asyncio.to_thread(self._store.count_values, self._collection_id)
        self._rows.begin_loading()
        entries = self._store.values(self._collection_id)
        while True:
            started = time.monotonic()
            loaded = await asyncio.to_thread(self._part, entries)
            if not loaded:
                break
            self._done = min(self._done + loaded, self._total)
            if not self._waiting:
                await asyncio.sleep(time.monotonic() - started)
        self._rows.end_loading()
        logs.get().info("catalog_loaded", items=self._done, seconds=round(time.monotonic() - began, 3))

    def _part(self, entries: Iterator[tuple[int, Values]]) -> int:
        part = list(islice(entries, _AT_ONCE))
        self._rows.load(part)
        return len(part)
