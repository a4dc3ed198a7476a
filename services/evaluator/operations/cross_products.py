"""Products of all rows with all queries, of two sets that are in no collection and are not kept."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from blindsight.ciphertext.header import (
    HEADER,
    RESIDUE_BYTES,
    BlockHeader,
    Form,
    check_expected,
    check_size,
    parse_header,
)
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.processpool import in_order
from blindsight.runtime.transfer import CHUNK_BYTES, MAX_COMPARED_CIPHERTEXTS, MAX_COMPARED_RESULTS
from blindsight.wire.blocks import (
    AnnouncedBlock,
    CompareAllHeader,
    CompareAllPart,
    CompareAllSummary,
    ProductsResult,
)
from services.evaluator import metrics, tasks
from services.evaluator.galleries.scorer import CHUNK_RESULT_BYTES, Scorer
from services.evaluator.geometry import SCORE_POLYNOMIALS, Geometry
from services.evaluator.operations.intake import Limits, check_announced, check_came, collect, next_chunk
from services.evaluator.shared_memory import SharedMemory

# Limit of the ciphertexts of a row: those of 128 values with stride 1.
MAX_COLUMNS = 128
# Limit of each received block: full ciphertexts of N = 8192 with three primes.
MAX_BLOCK_BYTES = MAX_COMPARED_CIPHERTEXTS * 2 * 3 * 8192 * RESIDUE_BYTES + HEADER.size
# Limit of received blocks and of their arranged form, over all clients.
MAX_HELD_BYTES = 2 << 30
# Chunks in progress at once: one computed, one waiting or being sent.
_IN_FLIGHT = 2


def check_header(header: CompareAllHeader) -> None:
    """Refuses an invalid header, before anything is allocated.

    Raises:
        InvalidArgument: if the columns are out of range, or a digest has the wrong size.
        InvalidCiphertext: if a block is too small.
        ResourceExhausted: if a block is too large.
    """
    if not 1 <= header.columns <= MAX_COLUMNS:
        raise InvalidArgument(f"rows of {header.columns} ciphertexts, want 1 to {MAX_COLUMNS}")
    for block in (header.gallery, header.queries):
        check_announced(block, HEADER.size)
        if block.size_bytes > MAX_BLOCK_BYTES:
            raise ResourceExhausted(f"block of {block.size_bytes} bytes, want at most {MAX_BLOCK_BYTES}")


@dataclass(frozen=True, slots=True)
class _Side:
    """Rows or queries in the kernel's order."""

    memory: SharedMemory
    count: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A range of rows and a range of queries, each with its first and the one after its last."""

    rows: tuple[int, int]
    queries: tuple[int, int]


class Comparisons:
    """The operation that multiplies rows by queries in the scoring process.

    Args:
        scorer: the client of the scoring process.
        limits: time limits of each call.
    """

    def __init__(self, scorer: Scorer, limits: Limits) -> None:
        self._scorer = scorer
        self._limits = limits
        self._memory = MemoryBudget(MAX_HELD_BYTES, "comparisons")

    async def run(
        self, header: CompareAllHeader, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[CompareAllPart]:
        """Computes all products; yields them chunk by chunk, and a summary.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the blocks are too large, or the work takes too long.
            Unavailable: if the scoring process died twice over it.
        """
        check_header(header)
        started = time.perf_counter()
        with (
            self._memory.take(header.gallery.size_bytes + header.queries.size_bytes),
            SharedMemory() as gallery,
            SharedMemory() as queries,
        ):
            first = await self._receive(header.gallery, chunks, gallery)
            second = await self._receive(header.queries, chunks, queries)
            if await next_chunk(chunks, self._limits.stall_seconds) is not None:
                raise InvalidArgument("more came than the announced blocks")
            _check_pair(first, second, header.columns)
            parameters = first.parameters
            each = Geometry(parameters, header.columns).size_bytes
            rows, wanted = first.count // header.columns, second.count // header.columns
            with (
                self._memory.take((rows + wanted) * each),
                SharedMemory(rows * each) as arranged_rows,
                SharedMemory(wanted * each) as arranged_queries,
            ):
                expand = await self._arrange(first, gallery, _Side(arranged_rows, rows), queries=False)
                expand += await self._arrange(second, queries, _Side(arranged_queries, wanted), queries=True)
                sides = _Side(arranged_rows, rows), _Side(arranged_queries, wanted)
                kernel = 0.0
                async with aclosing(self._products(first, header.columns, *sides)) as answers:
                    async for products, seconds in answers:
                        kernel += seconds
                        for one in products:
                            yield one
        labels = parameters.scheme.name.lower(), parameters.name
        metrics.COMPARE_ALL_SECONDS.labels(*labels).observe(time.perf_counter() - started)
        yield CompareAllSummary(expand, kernel)

    async def _receive(
        self, announced: AnnouncedBlock, chunks: AsyncIterator[bytes], block: SharedMemory
    ) -> BlockHeader:
        digest = await collect(chunks, announced.size_bytes, block.append, self._limits.stall_seconds)
        head = block.read(0, HEADER.size)
        check_came(announced, head, block.size_bytes, digest)
        parsed = parse_header(head)
        if parsed.form is Form.FULL and parsed.polynomials != 2:
            raise InvalidCiphertext(f"ciphertexts of {parsed.polynomials} polynomials, want 2")
        check_size(parsed, block.size_bytes)
        return parsed

    async def _arrange(
        self, header: BlockHeader, block: SharedMemory, side: _Side, *, queries: bool
    ) -> float:
        columns = header.count // side.count
        task = tasks.Arrange(
            header.parameters, header.key_id, block.ref, queries, columns, side.count, side.memory.ref
        )
        return await self._scorer.arrange(task)

    async def _products(
        self, header: BlockHeader, columns: int, gallery: _Side, queries: _Side
    ) -> AsyncGenerator[tuple[list[ProductsResult], float], None]:
        geometry = Geometry(header.parameters, columns)
        at_once = max(1, CHUNK_RESULT_BYTES // (geometry.score_words * RESIDUE_BYTES))
        deadline = self._limits.deadline("a comparison")
        work = (
            self._chunk(header, columns, chunk, gallery, queries)
            for chunk in _chunks(gallery.count, queries.count, at_once)
        )
        async with aclosing(in_order(work, _IN_FLIGHT)) as done:
            async for products in done:
                yield products
                deadline.check()

    async def _chunk(
        self, header: BlockHeader, columns: int, chunk: _Chunk, gallery: _Side, queries: _Side
    ) -> tuple[list[ProductsResult], float]:
        geometry = Geometry(header.parameters, columns)
        size = geometry.score_words * RESIDUE_BYTES
        pieces = list(_pieces(header, chunk, max(1, CHUNK_BYTES // size)))
        offsets: dict[tuple[int, int], int] = {}
        position = 0
        for query, first_row, piece in pieces:
            for index in range(piece.count):
                offsets[first_row + index, query] = position + HEADER.size + index * size
            position += piece.size_bytes
        with SharedMemory(position) as out:
            table = tuple(
                tuple(offsets[row, query] for query in range(*chunk.queries)) for row in range(*chunk.rows)
            )
            refs = gallery.memory.ref, queries.memory.ref
            task = tasks.Cross(header.parameters, columns, *refs, chunk.rows, chunk.queries, out.ref, table)
            seconds = await self._scorer.cross(task)
            return list(_read(pieces, out)), seconds


def _check_pair(gallery: BlockHeader, queries: BlockHeader, columns: int) -> None:
    check_expected(queries, gallery.parameters, gallery.key_id)
    for what, header in (("gallery", gallery), ("queries", queries)):
        if not header.count or header.count % columns:
            raise InvalidCiphertext(f"{what} of {header.count} ciphertexts, want a multiple of {columns}")
        if header.count > MAX_COMPARED_CIPHERTEXTS:
            raise ResourceExhausted(
                f"{what} of {header.count} ciphertexts, want at most {MAX_COMPARED_CIPHERTEXTS}"
            )
    results = (gallery.count // columns) * (queries.count // columns)
    if results > MAX_COMPARED_RESULTS:
        raise ResourceExhausted(f"{results} results, want at most {MAX_COMPARED_RESULTS}")


def _chunks(rows: int, queries: int, at_once: int) -> Iterator[_Chunk]:
    """Yields all results in chunks of at most `at_once`."""
    height = min(rows, at_once)
    width = max(1, at_once // height)
    for query in range(0, queries, width):
        for row in range(0, rows, height):
            yield _Chunk((row, min(row + height, rows)), (query, min(query + width, queries)))


Piece = tuple[int, int, BlockHeader]


def _pieces(header: BlockHeader, chunk: _Chunk, at_once: int) -> Iterator[Piece]:
    """Yields for each message its query, its first row, and the header of its block."""
    for query in range(*chunk.queries):
        for row in range(*chunk.rows, at_once):
            count = min(at_once, chunk.rows[1] - row)
            yield (
                query,
                row,
                BlockHeader(header.parameters, header.key_id, Form.FULL, SCORE_POLYNOMIALS, count),
            )


def _read(pieces: list[Piece], out: SharedMemory) -> Iterator[ProductsResult]:
    position = 0
    for query, first_row, piece in pieces:
        body = out.read(position + HEADER.size, piece.size_bytes - HEADER.size)
        yield ProductsResult(query, first_row, piece.pack() + body)
        position += piece.size_bytes
