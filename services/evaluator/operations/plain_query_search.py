"""Searches with the query in the clear, of collections of additive schemes: the gallery stays encrypted.

A search reads the collection's batches from storage, adds up those of a segment, and computes the inner
products of the columns with the weights of each query.  Batches of a segment fill different slots, so their
sum is as long as one of them.  Nothing is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field

import numpy as np

from blindsight.additive.query import PlainQueries, Weights, read_queries
from blindsight.ciphertext.header import ADDITIVE_HEADER, additive_header, check_additive_batch
from blindsight.errors import DataLoss, InvalidArgument, InvalidCiphertext
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import digest
from blindsight.wire.scores import ScorePlan, ScoreResult, ScoreSummary
from blindsight.wire.storage import BatchHeader, LogHeader, LogPart
from services.evaluator import tasks
from services.evaluator.batch_log import LogCheck, Storage, check_batch
from services.evaluator.galleries.scorer import Meter
from services.evaluator.geometry import AdditiveRecord

# Limit of the galleries that searches hold at the same time, over all clients.
MAX_GALLERY_BYTES = 512 << 20
# Numbers that one task adds up, which takes about 0.1 s.
FOLD_NUMBERS = 8192
# Columns times queries of one task of inner products, about 0.4 s; one query of a long field may take more.
WEIGH_NUMBERS = 4096


@dataclass(slots=True)
class _Gallery:
    """A collection's batches at one sequence of its log, by segment, in the wire form."""

    log: LogHeader
    segments: dict[SegmentId, list[bytes]] = field(default_factory=dict)
    size_bytes: int = 0

    def add(self, key: SegmentId, block: bytes) -> None:
        """Adds the next batch."""
        self.segments.setdefault(key, []).append(block)
        self.size_bytes += len(block)

    def count(self, region: Region) -> int:
        """Returns the number of segments of a region."""
        return sum(key.region is region for key in self.segments)


class PlainQuerySearches:
    """The searches whose queries the evaluator sees.

    Args:
        storage: provides the batches.
        pool: the worker processes.
    """

    def __init__(self, storage: Storage, pool: WorkerPool) -> None:
        self._storage = storage
        self._pool = pool
        self._memory = MemoryBudget(
            MAX_GALLERY_BYTES, "galleries", advice="retry later, or take a scheme that hides the query"
        )

    async def run(
        self,
        record: AdditiveRecord,
        block: bytes,
        count: int,
        minimum_sequence: int,
    ) -> AsyncIterator[ScorePlan | ScoreResult | ScoreSummary]:
        """Runs one search; yields a plan, a block of scores for each segment, and a summary.

        Args:
            block: `count` queries in the clear.
            minimum_sequence: the answer covers at least this much of the log.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the gallery is too large, or other searches hold too much.
            NotFound, Unavailable, DataLoss: if storage or the workers raise them.
        """
        queries = read_queries(block, count, record.layout.main, record.parameters, record.key_id)
        meter, started = Meter(), time.perf_counter()
        with ExitStack() as held:
            gallery = await self._read(record, held)
            if gallery.log.sequence < minimum_sequence:
                raise InvalidArgument(f"sequence {minimum_sequence}, the log ends at {gallery.log.sequence}")
            seconds = time.perf_counter() - started
            log, (main, tail) = gallery.log, map(gallery.count, Region)
            yield ScorePlan(log.sequence, log.epoch, main, tail, log.chain)
            work = (self._segment(record, queries, key, gallery, meter) for key in sorted(gallery.segments))
            async with aclosing(in_order(work, self._pool.at_once)) as results:
                async for scores in results:
                    yield scores
        yield ScoreSummary(seconds, 0.0, meter.kernel_seconds, gallery.size_bytes)

    async def _read(self, record: AdditiveRecord, held: ExitStack) -> _Gallery:
        """Reads the whole log and checks all but the numbers, which the workers check."""
        async with self._storage.read_batches(record.collection_id, 0) as events:
            first = await anext(events, None)
            if not isinstance(first, LogHeader):
                raise DataLoss("storage sent a log without a header")
            gallery, check = _Gallery(first), LogCheck(first)
            async for key, block in self._batches(record, events, check, held):
                gallery.add(key, block)
            check.end()
        return gallery

    async def _batches(
        self, record: AdditiveRecord, events: AsyncIterator[LogPart], check: LogCheck, held: ExitStack
    ) -> AsyncIterator[tuple[SegmentId, bytes]]:
        """Yields whole batches of a log; the memory of each is reserved before it is read."""
        batch: _Batch | None = None
        async for event in events:
            if isinstance(event, BatchHeader) and batch is None:
                check_batch(event, record)
                check.take(event)
                held.enter_context(self._memory.take(event.block_size_bytes))
                batch = _Batch(event)
            elif isinstance(event, bytes) and batch is not None and len(event) <= batch.missing_bytes:
                batch.data += event
                if not batch.missing_bytes:
                    yield batch.header.segment, await asyncio.to_thread(batch.finish, record)
                    batch = None
            else:
                raise DataLoss("storage sent a log out of order")
        if batch is not None:
            raise DataLoss("storage sent less of a batch than it announced")

    async def _segment(
        self,
        record: AdditiveRecord,
        queries: PlainQueries,
        key: SegmentId,
        gallery: _Gallery,
        meter: Meter,
    ) -> ScoreResult:
        numbers = await self._fold(record, queries.public_key, gallery.segments[key], meter)
        by_field = await asyncio.gather(
            *(
                self._weigh(record, queries, numbers, columns, meter)
                for columns in record.layout.of(key.region).field_columns
            )
        )
        count = len(queries.weights)
        results = [of_field[query] for query in range(count) for of_field in by_field]
        block = _result_header(record, queries.weights, len(results)) + b"".join(results)
        return ScoreResult(key.region, (key.index,), 0, count, block)

    async def _fold(
        self, record: AdditiveRecord, public_key: bytes, batches: list[bytes], meter: Meter
    ) -> bytes:
        """Returns the sum of a segment's batches, without a header."""
        columns = record.layout.main.columns
        step = max(1, FOLD_NUMBERS // len(batches))
        parts = await asyncio.gather(
            *(
                self._pool.timed(
                    tasks.AddBatches(
                        public_key,
                        tuple(
                            _block(record, batch[ADDITIVE_HEADER.size :], first, min(first + step, columns))
                            for batch in batches
                        ),
                    )
                )
                for first in range(0, columns, step)
            )
        )
        meter.kernel_seconds += sum(seconds for _, seconds in parts)
        return b"".join(numbers for numbers, _ in parts)

    async def _weigh(
        self,
        record: AdditiveRecord,
        queries: PlainQueries,
        numbers: bytes,
        columns: tuple[int, int],
        meter: Meter,
    ) -> list[bytes]:
        """Returns the inner products of every query with one field."""
        first, last = columns
        block = _block(record, numbers, first, last)
        weights = [tuple(row) for row in queries.weights[:, first:last].tolist()]
        step = max(1, WEIGH_NUMBERS // (last - first))
        parts = await asyncio.gather(
            *(
                self._pool.timed(
                    tasks.InnerProducts(queries.public_key, block, tuple(weights[start : start + step]))
                )
                for start in range(0, len(weights), step)
            )
        )
        meter.kernel_seconds += sum(seconds for _, seconds in parts)
        return [number for part, _ in parts for number in part]


@dataclass(slots=True)
class _Batch:
    """A batch that is being received from storage."""

    header: BatchHeader
    data: bytearray = field(default_factory=bytearray)

    @property
    def missing_bytes(self) -> int:
        return self.header.block_size_bytes - len(self.data)

    def finish(self, record: AdditiveRecord) -> bytes:
        """Checks and returns the block.

        Raises:
            DataLoss: if it is not a batch of this collection.
        """
        data = bytes(self.data)
        if digest(data) != self.header.block_sha256:
            raise DataLoss("a batch is not what storage announced")
        columns = record.layout.of(self.header.segment.region).columns
        try:
            check_additive_batch(data, record.parameters, record.key_id, columns)
        except InvalidCiphertext as error:
            raise DataLoss(f"storage holds a bad batch: {error.message}") from error
        return data


def _block(record: AdditiveRecord, numbers: bytes, first: int, last: int) -> bytes:
    """Returns some columns as a block of their own."""
    size = record.parameters.number_bytes
    header = additive_header(record.parameters, record.key_id, last - first)
    return header + numbers[first * size : last * size]


def _result_header(record: AdditiveRecord, weights: Weights, count: int) -> bytes:
    """Returns the header of `count` results, whose growth is the largest weight sum of a query and field."""
    magnitudes = np.abs(weights.astype(np.int64))
    sums = [magnitudes[:, first:last].sum(axis=1).max() for first, last in record.layout.main.field_columns]
    return additive_header(record.parameters, record.key_id, count, growth=max(1, int(max(sums))))
