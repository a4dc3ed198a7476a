"""Brings a gallery up to date with its collection's log: append is addition.

Batches stream in and are gathered per segment in shared memory; builder processes check them and
add them to new segment files.  The new snapshot is published once all of its files are complete, so that
searches see the old one or the new one and never a mixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.packing.segments import SegmentId
from blindsight.runtime.processpool import WorkerPool
from blindsight.wire.scores import Progress
from blindsight.wire.storage import BatchHeader, LogHeader, LogPart
from services.evaluator import tasks
from services.evaluator.batch_log import LogCheck, check_batch, fills
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import SegmentHeader
from services.evaluator.shared_memory import SharedMemory

# Batches of segments that are not full wait for more of the same segment, up to this size in all.
WAITING_BYTES = 64 << 20


@dataclass(slots=True)
class _Bundle:
    """Batches of one segment that are built together."""

    key: SegmentId
    memory: SharedMemory = field(default_factory=SharedMemory)
    parts: list[tasks.BatchPart] = field(default_factory=list)
    sequence: int = 0

    def begin(self, batch: BatchHeader) -> None:
        self.parts.append(tasks.BatchPart(self.memory.size_bytes, batch.block_size_bytes, batch.block_sha256))
        self.sequence = batch.sequence

    @property
    def missing_bytes(self) -> int:
        last = self.parts[-1]
        return last.offset + last.size_bytes - self.memory.size_bytes


class Refresh:
    """One refresh of one collection.

    Args:
        record: the collection.
        base: the snapshot to bring up to date; None to build all of it.
        cache: names the new files.
        pool: builder processes.
        on_progress: called with the progress at the start, and after every bundle of batches.
    """

    def __init__(
        self,
        record: CollectionRecord,
        base: Snapshot | None,
        cache: GalleryCache,
        pool: WorkerPool,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._record = record
        self._base = base
        self._cache = cache
        self._pool = pool
        self._on_progress = on_progress
        self._log = LogHeader(0, 0, 0)
        self._waiting: dict[SegmentId, _Bundle] = {}
        self._last: dict[SegmentId, asyncio.Task[None]] = {}
        self._newest: dict[SegmentId, Path] = {}
        self._made: set[Path] = set()
        self._done = 0
        # Limits the bundles that are being built to what keeps the workers busy; the stream waits meanwhile.
        self._slots = asyncio.Semaphore(pool.at_once)

    async def run(self, events: AsyncIterator[LogPart]) -> Snapshot:
        """Reads the log and builds segments; returns the new snapshot, which the caller publishes.

        Raises:
            DataLoss: if the log is inconsistent, or a cached file is damaged.
            Unavailable, NotFound: if storage or the workers raise them.
        """
        try:
            async with asyncio.TaskGroup() as group:
                await self._read(events, group)
                for key in list(self._waiting):
                    await self._dispatch(key, group)
        except BaseException as error:
            for bundle in self._waiting.values():
                bundle.memory.close()
            self._cache.discard(self._made)
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from error
            raise
        # Files of this refresh that a later file of the same segment replaced.
        self._cache.discard(self._made - set(self._newest.values()))
        return self._snapshot()

    async def _read(self, events: AsyncIterator[LogPart], group: asyncio.TaskGroup) -> None:
        first = await anext(events, None)
        if not isinstance(first, LogHeader):
            raise DataLoss("storage sent a log without a header")
        self._log = first
        self._start()
        base = self._base
        check = LogCheck(first) if base is None else LogCheck(first, base.sequence, base.chain)
        bundle: _Bundle | None = None
        async for event in events:
            if isinstance(event, BatchHeader):
                if bundle is not None and bundle.missing_bytes:
                    raise DataLoss("storage sent less of a batch than it announced")
                check_batch(event, self._record)
                check.take(event)
                bundle = self._bundle(event.segment)
                bundle.begin(event)
                header = event
            elif isinstance(event, bytes) and bundle is not None and len(event) <= bundle.missing_bytes:
                bundle.memory.append(event)
                if not bundle.missing_bytes:
                    await self._after_batch(header, group)
            else:
                raise DataLoss("storage sent a log out of order")
        if bundle is not None and bundle.missing_bytes:
            raise DataLoss("storage sent less of a batch than it announced")
        check.end()

    def _bundle(self, key: SegmentId) -> _Bundle:
        if key not in self._waiting:
            self._waiting[key] = _Bundle(key)
        return self._waiting[key]

    def _start(self) -> None:
        if self._base is not None:
            if self._log.sequence < self._base.sequence:
                raise DataLoss(
                    f"storage's log ends at {self._log.sequence}, want {self._base.sequence} or more"
                )
            gone = set(self._log.retired)
            self._newest = {file.key: file.path for file in self._base.segments if file.key not in gone}
        self._report(0)

    async def _after_batch(self, batch: BatchHeader, group: asyncio.TaskGroup) -> None:
        if fills(batch, self._record):
            await self._dispatch(batch.segment, group)
        elif sum(bundle.memory.size_bytes for bundle in self._waiting.values()) > WAITING_BYTES:
            for key in list(self._waiting):
                await self._dispatch(key, group)

    async def _dispatch(self, key: SegmentId, group: asyncio.TaskGroup) -> None:
        """Starts to build a bundle, after the segment's earlier ones."""
        await self._slots.acquire()
        bundle = self._waiting.pop(key)
        source = self._newest.get(key)
        target = self._cache.new_path(self._record.collection_id, key, bundle.sequence)
        self._made.add(target)
        self._newest[key] = target
        task = group.create_task(self._build(bundle, source, target, self._last.get(key)))
        self._last[key] = task
        task.add_done_callback(lambda _: self._free(bundle))

    def _free(self, bundle: _Bundle) -> None:
        bundle.memory.close()
        self._slots.release()

    async def _build(
        self, bundle: _Bundle, source: Path | None, target: Path, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await before
        memory, parts = bundle.memory.ref, tuple(bundle.parts)
        task = tasks.Build(self._record, bundle.key, source, target, bundle.sequence, memory, parts)
        await self._pool.run(task)
        self._report(len(bundle.parts))

    def _report(self, batches: int) -> None:
        self._done += batches
        self._on_progress(Progress(self._done, self._log.batches, self._log.sequence))

    def _snapshot(self) -> Snapshot:
        segments = []
        for key, path in sorted(self._newest.items()):
            size = SegmentHeader.of(self._record, key, 0).file_bytes
            segments.append(SegmentFile(key, path, size))
        return Snapshot(self._record, self._log.sequence, self._log.epoch, tuple(segments), self._log.chain)
