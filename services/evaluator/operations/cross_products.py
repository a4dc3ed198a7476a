"""Products of all rows with all queries, of two sets that are in no collection and are not kept."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate, pairwise

from blindsight.ciphertext.header import (
    HEADER,
    RESIDUE_BYTES,
    BlockHeader,
    Form,
    check_expected,
    check_form,
    check_size,
    parse_header,
)
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted
from blindsight.packing.columns import MIN_ANSWER
from blindsight.parameters import MAX_FIELDS, ParameterSet
from blindsight.ring.tiles import Geometry
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.processpool import in_order
from blindsight.runtime.transfer import MAX_COMPARED_CIPHERTEXTS, MAX_COMPARED_RESULTS
from blindsight.wire.blocks import (
    AnnouncedBlock,
    CompareAllHeader,
    CompareAllPart,
    CompareAllSummary,
    ProductsResult,
)
from services.evaluator import metrics, tasks
from services.evaluator.galleries.scorer import CHUNK_RESULT_BYTES, Piece, Scorer, answer_offsets, plan_pieces
from services.evaluator.operations.intake import Limits, check_announced, check_came, collect, next_chunk
from services.evaluator.shared_memory import SharedMemory

# Limit of the columns of a row: those of 128 values with stride 1.
MAX_COLUMNS = 128
# Limit of each received block: columns of N = 8192 with three primes.
MAX_BLOCK_BYTES = MAX_COMPARED_CIPHERTEXTS * 3 * 8192 * RESIDUE_BYTES + HEADER.size
# Limit of received blocks, over all clients.
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
    if not 1 <= len(header.fields) <= MAX_FIELDS or not all(header.fields):
        raise InvalidArgument(f"rows of {len(header.fields)} fields, want 1 to {MAX_FIELDS} and none empty")
    if header.columns > MAX_COLUMNS:
        raise InvalidArgument(f"rows of {header.columns} columns, want 1 to {MAX_COLUMNS}")
    if header.fold & (header.fold - 1) or not header.fold:
        raise InvalidArgument(f"fold {header.fold}, want a power of two")
    for block in (header.gallery, header.queries):
        check_announced(block, HEADER.size)
        if block.size_bytes > MAX_BLOCK_BYTES:
            raise ResourceExhausted(f"block of {block.size_bytes} bytes, want at most {MAX_BLOCK_BYTES}")


@dataclass(frozen=True, slots=True)
class _Work:
    """A checked comparison: all rows by all queries."""

    parameters: ParameterSet
    fields: tuple[tuple[int, int], ...]
    fold: int
    rows: tasks.Blocks
    queries: tasks.Blocks

    @property
    def answer_bytes(self) -> int:
        """The size of one row's answer to one query."""
        points = len(self.parameters.primes) * self.parameters.ring_degree // self.fold
        return len(self.fields) * points * RESIDUE_BYTES


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
            _check_pair(first, second, header)
            work = _work(first.parameters, header, gallery, queries)
            checked = await self._scorer.check(work.rows, work.queries)
            kernel = 0.0
            async with aclosing(self._products(work)) as answers:
                async for products, seconds in answers:
                    kernel += seconds
                    for one in products:
                        yield one
        labels = first.parameters.scheme.name.lower(), first.parameters.name
        metrics.COMPARE_ALL_SECONDS.labels(*labels).observe(time.perf_counter() - started)
        yield CompareAllSummary(checked, kernel)

    async def _receive(
        self, announced: AnnouncedBlock, chunks: AsyncIterator[bytes], block: SharedMemory
    ) -> BlockHeader:
        digest = await collect(chunks, announced.size_bytes, block.append, self._limits.stall_seconds)
        head = block.read(0, HEADER.size)
        check_came(announced, head, block.size_bytes, digest)
        parsed = parse_header(head)
        check_form(parsed, Form.COLUMNS)
        check_size(parsed, block.size_bytes)
        return parsed

    async def _products(self, work: _Work) -> AsyncGenerator[tuple[list[ProductsResult], float], None]:
        at_once = max(1, CHUNK_RESULT_BYTES // work.answer_bytes)
        deadline = self._limits.deadline("a comparison")
        chunks = (self._chunk(work, chunk) for chunk in _chunks(work.rows.count, work.queries.count, at_once))
        async with aclosing(in_order(chunks, _IN_FLIGHT)) as done:
            async for products in done:
                yield products
                deadline.check()

    async def _chunk(self, work: _Work, chunk: _Chunk) -> tuple[list[ProductsResult], float]:
        rows, queries = work.rows.part(*chunk.rows), work.queries.part(*chunk.queries)
        pieces = plan_pieces(rows.count, queries.count, work.answer_bytes)
        with SharedMemory(pieces[-1].offset + pieces[-1].size_bytes) as out:
            offsets = answer_offsets(pieces, work.answer_bytes)
            task = tasks.Multiply(rows, queries, work.fields, work.fold, out.ref, offsets)
            seconds = await self._scorer.multiply(task)
            return [_result(chunk, piece, out) for piece in pieces], seconds


def _result(chunk: _Chunk, piece: Piece, out: SharedMemory) -> ProductsResult:
    return ProductsResult(
        chunk.rows[0] + piece.first_row,
        piece.rows,
        chunk.queries[0] + piece.first_query,
        piece.queries,
        out.read(piece.offset, piece.size_bytes),
    )


def _work(
    parameters: ParameterSet, header: CompareAllHeader, gallery: SharedMemory, queries: SharedMemory
) -> _Work:
    geometry = Geometry(parameters, header.columns)

    def blocks(memory: SharedMemory) -> tasks.Blocks:
        count = (memory.size_bytes - HEADER.size) // geometry.size_bytes
        return tasks.Blocks(memory.ref, geometry, HEADER.size, geometry.size_bytes, count)

    spans = tuple(pairwise(accumulate(header.fields, initial=0)))
    return _Work(parameters, spans, header.fold, blocks(gallery), blocks(queries))


def _check_pair(gallery: BlockHeader, queries: BlockHeader, header: CompareAllHeader) -> None:
    check_expected(queries, gallery.parameters, gallery.key_id)
    columns = header.columns
    for what, block in (("gallery", gallery), ("queries", queries)):
        if block.count % columns:
            raise InvalidCiphertext(f"{what} of {block.count} columns, want a multiple of {columns}")
        if block.count > MAX_COMPARED_CIPHERTEXTS:
            raise ResourceExhausted(
                f"{what} of {block.count} columns, want at most {MAX_COMPARED_CIPHERTEXTS}"
            )
    results = (gallery.count // columns) * (queries.count // columns)
    if results > MAX_COMPARED_RESULTS:
        raise ResourceExhausted(f"{results} results, want at most {MAX_COMPARED_RESULTS}")
    most = gallery.parameters.ring_degree // MIN_ANSWER
    if header.fold > most:
        raise InvalidArgument(f"fold {header.fold}, want at most {most}")


def _chunks(rows: int, queries: int, at_once: int) -> Iterator[_Chunk]:
    """Yields all results in chunks of at most `at_once`."""
    height = min(rows, at_once)
    width = max(1, at_once // height)
    for query in range(0, queries, width):
        for row in range(0, rows, height):
            yield _Chunk((row, min(row + height, rows)), (query, min(query + width, queries)))
