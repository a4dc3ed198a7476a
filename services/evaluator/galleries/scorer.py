"""The service's side of the scoring process: searches are cut into chunks of work, results come as blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.ciphertext.header import HEADER, RESIDUE_BYTES, BlockHeader, Form
from blindsight.errors import BlindsightError
from blindsight.packing.segments import Region
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import CHUNK_BYTES
from blindsight.wire.scores import ScoreResult
from services.evaluator import tasks
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.geometry import SCORE_POLYNOMIALS, CollectionRecord
from services.evaluator.shared_memory import SharedMemory, SharedRef

# Limits of a chunk of work: large enough that passing it to the process costs little, small enough that
# searches alternate and that results are sent while the rest is computed.
CHUNK_SCAN_BYTES = 256 << 20
CHUNK_RESULT_BYTES = 16 << 20
# Chunks in progress at once: one computed, one waiting or being sent.
_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """The plan of one `ScoreResult`: a range of a chunk's segments, a range of its queries, and its place."""

    first_segment: int
    segments: int
    first_query: int
    queries: int
    offset: int
    header: bytes
    size_bytes: int


def score_bytes(record: CollectionRecord) -> int:
    """Returns the bytes of one segment's scores for one query, one ciphertext per field."""
    return len(record.layout.main.fields) * record.geometry(Region.MAIN).score_words * RESIDUE_BYTES


def plan_pieces(record: CollectionRecord, segments: int, queries: int) -> list[Piece]:
    """Cuts a chunk's results into blocks of about `transfer.CHUNK_BYTES`."""
    at_once = max(1, CHUNK_BYTES // score_bytes(record))
    per_query = min(queries, at_once)
    per_segment = max(1, at_once // queries)
    pieces = []
    offset = 0
    for segment in range(0, segments, per_segment):
        height = min(per_segment, segments - segment)
        for query in range(0, queries, per_query):
            width = min(per_query, queries - query)
            count = height * width * len(record.layout.main.fields)
            header = BlockHeader(record.parameters, record.key_id, Form.FULL, SCORE_POLYNOMIALS, count)
            pieces.append(Piece(segment, height, query, width, offset, header.pack(), header.size_bytes))
            offset += header.size_bytes
    return pieces


def score_offsets(record: CollectionRecord, pieces: Sequence[Piece]) -> tuple[tuple[int, ...], ...]:
    """Returns the byte offset of the scores of each segment and query of a chunk: [segment][query]."""
    places: dict[tuple[int, int], int] = {}
    for piece in pieces:
        for position in range(piece.segments * piece.queries):
            segment, query = divmod(position, piece.queries)
            key = piece.first_segment + segment, piece.first_query + query
            places[key] = piece.offset + HEADER.size + position * score_bytes(record)
    segments = 1 + max(segment for segment, _ in places)
    queries = 1 + max(query for _, query in places)
    return tuple(tuple(places[segment, query] for query in range(queries)) for segment in range(segments))


def plan_chunks(snapshot: Snapshot, queries: int) -> list[tuple[SegmentFile, ...]]:
    """Cuts a gallery into chunks of one region each."""
    results = queries * score_bytes(snapshot.record)
    chunks = []
    for region in Region:
        files = snapshot.region(region)
        scanned = snapshot.record.geometry(region).size_bytes
        size = max(1, min(CHUNK_SCAN_BYTES // scanned, CHUNK_RESULT_BYTES // results))
        chunks += [files[start : start + size] for start in range(0, len(files), size)]
    return chunks


@dataclass(slots=True)
class Meter:
    """Costs of a search, added up while it runs."""

    expand_seconds: float = 0.0
    kernel_seconds: float = 0.0
    scanned_bytes: int = 0


@dataclass(slots=True)
class _Pass:
    """Queries that are scored together."""

    snapshot: Snapshot
    queries: SharedRef
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

    async def expand(
        self, record: CollectionRecord, block: SharedRef, first: int, count: int, out: SharedRef, meter: Meter
    ) -> None:
        """Checks `count` queries of a block from `first` on and expands them into `out`.

        Raises:
            InvalidCiphertext: if a residue or seed is invalid.
            Unavailable: if the process died twice over it.
        """
        _, seconds = await self._pool.timed(tasks.Expand(record, block, first, count, out))
        meter.expand_seconds += seconds

    async def compare(self, task: tasks.Compare) -> tuple[bytes, float]:
        """Multiplies one row by one query; returns a block of one product per field, and the kernel seconds.

        Raises:
            InvalidCiphertext: if a residue or seed is invalid.
            Unavailable: if the process died twice over it.
        """
        return await self._pool.run(task)

    async def arrange(self, task: tasks.Arrange) -> float:
        """Checks rows or queries and arranges them in the kernel's order; returns the seconds that it took.

        Raises:
            InvalidCiphertext: if a residue or seed is invalid.
            Unavailable: if the process died twice over it.
        """
        _, seconds = await self._pool.timed(task)
        return seconds

    async def cross(self, task: tasks.Cross) -> float:
        """Multiplies every row by every query; returns the kernel's seconds.

        Raises:
            Unavailable: if the process died twice over it.
        """
        return await self._pool.run(task)

    async def open(self, snapshot: Snapshot) -> None:
        """Maps and checks a gallery.

        Raises:
            DataLoss: if a file of it is missing or damaged.
        """
        await self._pool.run(tasks.OpenSegments(tuple(str(segment.path) for segment in snapshot.segments)))

    def forget(self, paths: list[Path]) -> None:
        """Makes the process unmap deleted files, in the background."""
        task = asyncio.ensure_future(self._forget(tuple(map(str, paths))))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _forget(self, paths: tuple[str, ...]) -> None:
        try:
            await self._pool.run(tasks.ForgetSegments(paths))
        except BlindsightError:
            return  # a process that died has no mappings

    async def score(
        self, snapshot: Snapshot, queries: SharedRef, first: int, count: int, meter: Meter
    ) -> AsyncIterator[ScoreResult]:
        """Scores a whole gallery against expanded queries; yields blocks while later ones are computed.

        Args:
            queries: `count` queries that `expand` made.
            first: number of the first query in the whole search.
            meter: costs to which this adds.

        Raises:
            Unavailable: if the process died twice over a chunk.
            DataLoss: if a file is damaged.
        """
        current = _Pass(snapshot, queries, first, count, meter)
        chunks = (self._chunk(current, files) for files in plan_chunks(snapshot, count))
        async with aclosing(in_order(chunks, _IN_FLIGHT)) as results:
            async for blocks in results:
                for block in blocks:
                    yield block

    async def _chunk(self, current: _Pass, files: tuple[SegmentFile, ...]) -> list[ScoreResult]:
        record = current.snapshot.record
        region = files[0].key.region
        pieces = plan_pieces(record, len(files), current.count)
        with SharedMemory(pieces[-1].offset + pieces[-1].size_bytes) as out:
            for piece in pieces:
                out.write(piece.offset, piece.header)
            paths = tuple(str(file.path) for file in files)
            offsets = score_offsets(record, pieces)
            task = tasks.Score(record, region, paths, current.queries, current.count, out.ref, offsets)
            current.meter.kernel_seconds += await self._pool.run(task)
            current.meter.scanned_bytes += len(files) * record.geometry(region).size_bytes
            return [self._block(current, files, piece, out) for piece in pieces]

    @staticmethod
    def _block(
        current: _Pass, files: tuple[SegmentFile, ...], piece: Piece, out: SharedMemory
    ) -> ScoreResult:
        chosen = files[piece.first_segment : piece.first_segment + piece.segments]
        return ScoreResult(
            chosen[0].key.region,
            tuple(file.key.index for file in chosen),
            current.first + piece.first_query,
            piece.queries,
            out.read(piece.offset, piece.size_bytes),
        )
