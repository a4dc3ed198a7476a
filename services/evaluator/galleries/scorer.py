"""The service's side of the scoring process: searches are cut into chunks of work, results come as blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.errors import BlindsightError
from blindsight.packing.segments import Region
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import CHUNK_BYTES
from blindsight.wire.scores import ScoreResult
from services.evaluator import tasks
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.shared_memory import SharedMemory

# Limits of a chunk of work: large enough that passing it to the process costs little, small enough that
# searches alternate and that results are sent while the rest is computed.
CHUNK_SCAN_BYTES = 256 << 20
CHUNK_RESULT_BYTES = 16 << 20
# Chunks in progress at once: one computed, one waiting or being sent.
_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """The plan of one message of answers: a range of a chunk's rows and one of its queries, and its place."""

    first_row: int
    rows: int
    first_query: int
    queries: int
    offset: int
    size_bytes: int


def plan_pieces(rows: int, queries: int, answer_bytes: int) -> list[Piece]:
    """Cuts a chunk's answers into messages of about `transfer.CHUNK_BYTES`.

    A message has as many rows as fit, of few queries: what opens answers takes one step for each query.
    """
    at_once = max(1, CHUNK_BYTES // answer_bytes)
    per_row = min(rows, at_once)
    per_query = max(1, at_once // per_row)
    pieces = []
    offset = 0
    for row in range(0, rows, per_row):
        height = min(per_row, rows - row)
        for query in range(0, queries, per_query):
            width = min(per_query, queries - query)
            pieces.append(Piece(row, height, query, width, offset, height * width * answer_bytes))
            offset += height * width * answer_bytes
    return pieces


def answer_offsets(pieces: Sequence[Piece], answer_bytes: int) -> tuple[tuple[int, ...], ...]:
    """Returns the byte offset of the answer of each row and query of a chunk: [row][query]."""
    places: dict[tuple[int, int], int] = {}
    for piece in pieces:
        for position in range(piece.rows * piece.queries):
            row, query = divmod(position, piece.queries)
            places[piece.first_row + row, piece.first_query + query] = piece.offset + position * answer_bytes
    rows = 1 + max(row for row, _ in places)
    queries = 1 + max(query for _, query in places)
    return tuple(tuple(places[row, query] for query in range(queries)) for row in range(rows))


def plan_chunks(snapshot: Snapshot, queries: int) -> list[tuple[SegmentFile, ...]]:
    """Cuts a gallery into chunks of one region each."""
    chunks = []
    for region in Region:
        files = snapshot.region(region)
        scanned = snapshot.record.geometry(region).size_bytes
        answers = queries * snapshot.record.answer_bytes(region)
        size = max(1, min(CHUNK_SCAN_BYTES // scanned, CHUNK_RESULT_BYTES // answers))
        chunks += [files[start : start + size] for start in range(0, len(files), size)]
    return chunks


@dataclass(slots=True)
class Meter:
    """Costs of a search, added up while it runs."""

    kernel_seconds: float = 0.0
    scanned_bytes: int = 0

    def add(self, kernel_seconds: float, scanned_bytes: int) -> None:
        """Adds a chunk of work.

        Not `+= await ...`, which takes the old sum before it waits: chunks that run at the same time would
        be forgotten.
        """
        self.kernel_seconds += kernel_seconds
        self.scanned_bytes += scanned_bytes


@dataclass(slots=True)
class _Pass:
    """Queries that are scored together; those for each region, checked."""

    snapshot: Snapshot
    queries: dict[Region, tasks.Blocks]
    first: int
    count: int
    meter: Meter = field(default_factory=Meter)


class Scorer:
    """The client of the scoring process.

    Args:
        pool: a pool of one process, started with `tasks.StartScorer`.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._background: set[asyncio.Task[None]] = set()
        self._opened: set[Path] = set()
        self._restarts = 0  # of the pool, when these files were opened

    async def check(self, *blocks: tasks.Blocks) -> float:
        """Checks every residue of blocks in shared memory; returns the seconds that it took.

        Raises:
            InvalidCiphertext: if a residue is not below its prime.
            Unavailable: if the process died twice over it.
        """
        _, seconds = await self._pool.timed(tasks.CheckBlocks(blocks))
        return seconds

    async def multiply(self, task: tasks.Multiply) -> float:
        """Multiplies rows by queries; returns the kernel's seconds.

        Raises:
            Unavailable: if the process died twice over it.
        """
        return await self._pool.run(task)

    async def open(self, snapshot: Snapshot) -> None:
        """Maps and checks those files of a gallery that this process has not opened before.

        Raises:
            DataLoss: if a file of it is missing or damaged.
        """
        if self._restarts != self._pool.restarts:
            self._restarts = self._pool.restarts
            self._opened.clear()
        new = {segment.path for segment in snapshot.segments} - self._opened
        if new:
            await self._pool.run(tasks.OpenSegments(tuple(map(str, sorted(new)))))
            self._opened |= new

    def forget(self, paths: list[Path]) -> None:
        """Makes the process unmap deleted files, in the background."""
        self._opened.difference_update(paths)
        task = asyncio.ensure_future(self._forget(tuple(map(str, paths))))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _forget(self, paths: tuple[str, ...]) -> None:
        try:
            await self._pool.run(tasks.ForgetSegments(paths))
        except BlindsightError:
            return  # a process that died has no mappings

    async def score(
        self,
        snapshot: Snapshot,
        queries: dict[Region, tasks.Blocks],
        first: int,
        count: int,
        meter: Meter,
    ) -> AsyncIterator[ScoreResult]:
        """Scores a whole gallery; yields answers while later ones are computed.

        Args:
            queries: `count` checked queries for each region of the snapshot's segments.
            first: number of the first query in the whole search.
            meter: costs to which this adds.

        Raises:
            Unavailable: if the process died twice over a chunk.
            DataLoss: if a file is damaged.
        """
        current = _Pass(snapshot, queries, first, count, meter)
        chunks = (self._chunk(current, files) for files in plan_chunks(snapshot, count))
        async with aclosing(in_order(chunks, _IN_FLIGHT)) as results:
            async for answers in results:
                for answer in answers:
                    yield answer

    async def _chunk(self, current: _Pass, files: tuple[SegmentFile, ...]) -> list[ScoreResult]:
        record = current.snapshot.record
        region = files[0].key.region
        layout, size = record.layout.of(region), record.answer_bytes(region)
        pieces = plan_pieces(len(files), current.count, size)
        with SharedMemory(pieces[-1].offset + pieces[-1].size_bytes) as out:
            paths = tuple(str(file.path) for file in files)
            offsets = answer_offsets(pieces, size)
            queries, fields = current.queries[region], layout.field_columns
            task = tasks.Multiply(paths, queries, fields, layout.fold, out.ref, offsets)
            seconds = await self._pool.run(task)
            current.meter.add(seconds, len(files) * record.geometry(region).size_bytes)
            return [self._answer(current, files, piece, out) for piece in pieces]

    @staticmethod
    def _answer(
        current: _Pass, files: tuple[SegmentFile, ...], piece: Piece, out: SharedMemory
    ) -> ScoreResult:
        chosen = files[piece.first_row : piece.first_row + piece.rows]
        return ScoreResult(
            chosen[0].key.region,
            tuple(file.key.index for file in chosen),
            current.first + piece.first_query,
            piece.queries,
            out.read(piece.offset, piece.size_bytes),
        )
