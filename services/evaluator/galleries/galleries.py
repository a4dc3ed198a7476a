"""Snapshots of galleries: from the cache, brought up to date from storage if they are behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from blindsight.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.processpool import WorkerPool
from blindsight.runtime.reports import with_reports
from blindsight.wire.scores import Progress
from services.evaluator import metrics
from services.evaluator.batch_log import Storage
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.manifest import Snapshot
from services.evaluator.galleries.refresh import Refresh
from services.evaluator.galleries.scorer import Scorer
from services.evaluator.geometry import AnyRecord, CollectionRecord


def _ignore(_: Progress) -> None:
    """Ignores progress."""


class Galleries:
    """The galleries of all collections; each collection has one refresh at a time.

    Args:
        cache: the galleries that are ready.
        storage: provides the batches.
        builders: processes that build segments.
        scorer: maps built segments.
    """

    def __init__(self, cache: GalleryCache, storage: Storage, builders: WorkerPool, scorer: Scorer) -> None:
        self._cache = cache
        self._storage = storage
        self._builders = builders
        self._scorer = scorer
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._refreshing: set[asyncio.Task[Any]] = set()
        self._waiting: dict[bytes, list[Callable[[Progress], None]]] = {}

    async def record(self, collection_id: bytes) -> AnyRecord:
        """Returns a collection's public record.

        Raises:
            NotFound, Unavailable: if storage raises them.
        """
        cached = self._cache.get(collection_id)
        return cached.record if cached is not None else await self._storage.get_collection(collection_id)

    async def reach(self, collection_id: bytes, minimum_sequence: int | None) -> AsyncIterator[Progress]:
        """Brings a gallery up to date, and yields progress; see `refresh`."""
        snapshot = self._cache.get(collection_id)
        if snapshot is not None and minimum_sequence is not None and snapshot.sequence >= minimum_sequence:
            return
        seen: asyncio.Queue[Progress] = asyncio.Queue()

        async def made() -> AsyncIterator[Snapshot]:
            yield await self.refresh(collection_id, minimum_sequence, seen.put_nowait)

        parts = with_reports(made(), seen)
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Progress):
                    yield part

    @asynccontextmanager
    async def acquire(self, collection_id: bytes, minimum_sequence: int) -> AsyncIterator[Snapshot]:
        """Holds a mapped gallery that covers at least `minimum_sequence` while the block runs.

        Raises:
            InvalidArgument: if storage's log does not reach that far.
            Unavailable: also if the block found the gallery damaged; it will be built again.
            NotFound, DataLoss: see `refresh`.
        """
        with ExitStack() as leases:
            snapshot = await self._opened(collection_id, minimum_sequence, leases)
            try:
                yield snapshot
            except DataLoss as error:
                await self._drop_damaged(collection_id)
                raise Unavailable("the gallery was damaged; it will be built again") from error

    async def _opened(self, collection_id: bytes, minimum_sequence: int, leases: ExitStack) -> Snapshot:
        try:
            return await self._open(collection_id, minimum_sequence, leases)
        except DataLoss:
            leases.close()
            await self._drop_damaged(collection_id)
            return await self._open(collection_id, minimum_sequence, leases)

    async def _open(self, collection_id: bytes, minimum_sequence: int, leases: ExitStack) -> Snapshot:
        # One lease until the end of the search: without it, the publication of a newer snapshot would
        # delete the files that were just opened.
        snapshot = leases.enter_context(
            self._cache.lease(await self._current(collection_id, minimum_sequence))
        )
        await self._scorer.open(snapshot)
        return snapshot

    async def _current(self, collection_id: bytes, minimum_sequence: int) -> Snapshot:
        snapshot = self._cache.get(collection_id)
        if snapshot is not None and snapshot.sequence >= minimum_sequence:
            return snapshot
        made = await self.refresh(collection_id, minimum_sequence)
        return self._cache.get(collection_id) or made  # a newer one may have replaced it

    async def _drop_damaged(self, collection_id: bytes) -> None:
        logs.get().warning("cache_dropped", cause="damaged")
        await self.drop(collection_id)

    async def refresh(
        self,
        collection_id: bytes,
        minimum_sequence: int | None = None,
        on_progress: Callable[[Progress], None] = _ignore,
    ) -> Snapshot:
        """Fetches and builds what the cache lacks.

        It goes on if the caller is cancelled, since others may wait for it.

        Args:
            minimum_sequence: returns at once if another refresh reached it meanwhile; None asks storage in
                any case.
            on_progress: called with the progress at the start, and whenever batches were built, also while
                this waits for another refresh of the same collection.

        Raises:
            InvalidArgument: if storage's log does not reach `minimum_sequence`.
            NotFound: if storage does not have the collection any more; it is dropped from the cache.
            Unavailable: if storage does not answer, or a worker process died twice.
            DataLoss: if storage's log or its bytes are damaged.
        """
        task = asyncio.create_task(self._refresh_once(collection_id, minimum_sequence))
        self._refreshing.add(task)
        task.add_done_callback(self._finished)
        waiting = self._waiting.setdefault(collection_id, [])
        waiting.append(on_progress)
        try:
            return await asyncio.shield(task)
        finally:
            waiting.remove(on_progress)
            if not waiting:
                self._waiting.pop(collection_id, None)

    def _report(self, collection_id: bytes, progress: Progress) -> None:
        for on_progress in self._waiting.get(collection_id, ()):
            on_progress(progress)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._refreshing.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, since the caller may be cancelled

    async def _refresh_once(self, collection_id: bytes, minimum_sequence: int | None) -> Snapshot:
        async with self._lock(collection_id):
            base = self._cache.get(collection_id)
            if base is not None and minimum_sequence is not None and base.sequence >= minimum_sequence:
                return base
            try:
                made = await self._build(collection_id, base)
            except NotFound:
                self._cache.drop(collection_id)
                raise
            except DataLoss:
                if base is None:
                    raise
                # A cached file may be damaged: build from storage alone.
                self._cache.drop(collection_id)
                made = await self._build(collection_id, None)
            if minimum_sequence is not None and made.sequence < minimum_sequence:
                raise InvalidArgument(f"sequence {minimum_sequence}, the log ends at {made.sequence}")
            return made

    async def _build(self, collection_id: bytes, base: Snapshot | None) -> Snapshot:
        started = time.perf_counter()
        record = base.record if base is not None else await self._storage.get_collection(collection_id)
        if not isinstance(record, CollectionRecord):
            raise InvalidArgument(f"nothing is built of a collection of {record.parameters.name}")
        after = base.sequence if base is not None else 0
        async with self._storage.read_batches(collection_id, after) as events:
            report = partial(self._report, collection_id)
            refresh = Refresh(record, base, self._cache, self._builders, report)
            if base is None:
                made = await refresh.run(events)
            else:
                with self._cache.lease(base):
                    made = await refresh.run(events)
        if made != base:
            self._cache.publish(made)
        seconds = time.perf_counter() - started
        metrics.REFRESH_SECONDS.observe(seconds)
        logs.get().info("gallery_refreshed", segments=len(made.segments), seconds=round(seconds, 3))
        return made

    async def drop(self, collection_id: bytes) -> None:
        """Removes a collection from the cache."""
        async with self._lock(collection_id):
            self._cache.drop(collection_id)

    def _lock(self, collection_id: bytes) -> asyncio.Lock:
        return self._locks.setdefault(collection_id, asyncio.Lock())

    async def close(self) -> None:
        """Cancels running refreshes."""
        for task in self._refreshing:
            task.cancel()
        await asyncio.gather(*self._refreshing, return_exceptions=True)
