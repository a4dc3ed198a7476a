"""Searches: each is checked on arrival, received, and scored pass by pass."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

from blindsight.additive import query
from blindsight.ciphertext.header import (
    HEADER,
    SECRET_MAGICS,
    BlockHeader,
    Form,
    check_expected,
    check_size,
    parse_header,
)
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted, SecretMaterialRefused
from blindsight.packing.segments import Region
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.wire.scores import ScoreHeader, ScorePart, ScorePlan, ScoreSummary
from services.evaluator import metrics, tasks
from services.evaluator.galleries.galleries import Galleries
from services.evaluator.galleries.scorer import Meter, Scorer
from services.evaluator.geometry import AdditiveRecord, AnyRecord, CollectionRecord
from services.evaluator.operations.intake import check_digest, check_digest_size, next_chunk
from services.evaluator.operations.plain_query_search import PlainQuerySearches
from services.evaluator.shared_memory import SharedMemory

COLLECTION_ID_BYTES = 16
MAX_QUERY_BYTES = 256 << 20
# Limit of the queries that are received or scored at the same time, over all clients.
MAX_RECEIVED_BYTES = 512 << 20
# Limits of the expanded queries in one pass over the gallery.
PASS_BYTES = 256 << 20
PASS_QUERIES = 16


def check_header(header: ScoreHeader) -> None:
    """Refuses an invalid header of a search, before anything is allocated.

    Raises:
        InvalidArgument: if an id or digest has the wrong size, or there are no queries.
        ResourceExhausted: if the queries are too large.
        InvalidCiphertext: if the queries are smaller than a block's header.
    """
    if len(header.collection_id) != COLLECTION_ID_BYTES:
        raise InvalidArgument(f"collection id of {len(header.collection_id)} bytes, want 16")
    check_digest_size(header.sha256, "queries have")
    if header.queries < 1:
        raise InvalidArgument("no queries, want at least 1")
    if header.size_bytes > MAX_QUERY_BYTES:
        raise ResourceExhausted(f"queries of {header.size_bytes} bytes, want at most {MAX_QUERY_BYTES}")
    if header.size_bytes < HEADER.size:
        raise InvalidCiphertext(f"queries of {header.size_bytes} bytes, want at least {HEADER.size}")


def queries_at_once(record: CollectionRecord) -> int:
    """Returns the number of queries that share one pass over the gallery."""
    return min(PASS_QUERIES, max(1, PASS_BYTES // tasks.expanded_bytes(record, 1)))


def check_block(header: BlockHeader, announced: ScoreHeader, record: CollectionRecord) -> None:
    """Refuses a block that is not the announced queries for this collection.

    Raises:
        InvalidCiphertext: if its parameter set, key, size, count or form is another.
    """
    check_expected(header, record.parameters, record.key_id)
    check_size(header, announced.size_bytes)
    wanted = announced.queries * record.layout.query_ciphertexts
    if header.count != wanted:
        raise InvalidCiphertext(f"block of {header.count} ciphertexts, want {wanted}")
    if header.form is Form.FULL and header.polynomials != 2:
        raise InvalidCiphertext(f"queries of {header.polynomials} polynomials, want 2")


def check_head(head: bytes, record: AnyRecord) -> None:
    """Refuses encrypted queries for an additive scheme, and queries in the clear for any other.

    Raises:
        SecretMaterialRefused: if they look like a key.
        InvalidCiphertext: if they are encrypted but must be in the clear, or the other way round.
    """
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a serialised key or SEAL object, want queries")
    in_the_clear, wanted = head.startswith(query.MAGIC), isinstance(record, AdditiveRecord)
    if in_the_clear and not wanted:
        raise InvalidCiphertext(f"queries in the clear, want ciphertexts of {record.parameters.name}")
    if wanted and not in_the_clear:
        raise InvalidCiphertext(
            f"{record.parameters.name} cannot search with an encrypted query, want queries in the clear"
        )


class Searches:
    """The operation that answers searches.

    Args:
        galleries: provides the galleries.
        scorer: scores them.
        visible: answers searches with the query in the clear.
        stall_seconds: a client that sends nothing for this long is refused.
    """

    def __init__(
        self, galleries: Galleries, scorer: Scorer, visible: PlainQuerySearches, stall_seconds: float
    ) -> None:
        self._galleries = galleries
        self._scorer = scorer
        self._visible = visible
        self._stall_seconds = stall_seconds
        self._memory = MemoryBudget(MAX_RECEIVED_BYTES, "searches")

    async def run(self, header: ScoreHeader, chunks: AsyncIterator[bytes]) -> AsyncIterator[ScorePart]:
        """Runs one search; yields a plan, blocks of scores, and a summary.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the queries are too large, or other searches hold too much.
            NotFound, Unavailable: see `Galleries.refresh` and `Scorer.score`.
        """
        check_header(header)
        started = time.perf_counter()
        record = await self._galleries.record(header.collection_id)
        with self._memory.take(header.size_bytes), SharedMemory() as block:
            await self._receive(header, chunks, record, block)
            async for answer in self._answers(header, record, block):
                yield answer
        labels = record.parameters.scheme.name.lower(), record.parameters.name
        metrics.SCORE_SECONDS.labels(*labels).observe(time.perf_counter() - started)

    def _answers(
        self, header: ScoreHeader, record: AnyRecord, block: SharedMemory
    ) -> AsyncIterator[ScorePart]:
        if isinstance(record, CollectionRecord):
            return self._score(header, record.within(_regions(header)), block)
        data, only = block.read(0, block.size_bytes), frozenset(header.only)
        return self._visible.run(record, data, header.queries, header.minimum_sequence, only)

    async def _receive(
        self,
        header: ScoreHeader,
        chunks: AsyncIterator[bytes],
        record: AnyRecord,
        block: SharedMemory,
    ) -> None:
        digest = hashlib.sha256()
        while (chunk := await next_chunk(chunks, self._stall_seconds)) is not None:
            if not chunk or block.size_bytes + len(chunk) > header.size_bytes:
                raise InvalidArgument(f"an empty chunk, or more than the announced {header.size_bytes} bytes")
            block.append(chunk)
            await asyncio.to_thread(digest.update, chunk)
        # Checked before the size and the digest, so that a secret key is always reported as one.
        head = block.read(0, HEADER.size)
        check_head(head, record)
        parsed = parse_header(head) if isinstance(record, CollectionRecord) else None
        if block.size_bytes != header.size_bytes:
            raise InvalidArgument(f"queries: {block.size_bytes} bytes came, want {header.size_bytes}")
        check_digest(digest.digest(), header.sha256, "queries")
        if parsed is not None and isinstance(record, CollectionRecord):
            check_block(parsed, header, record.within(_regions(header)))

    async def _score(
        self, header: ScoreHeader, record: CollectionRecord, block: SharedMemory
    ) -> AsyncIterator[ScorePart]:
        meter = Meter()
        at_once = queries_at_once(record)
        with SharedMemory(tasks.expanded_bytes(record, min(at_once, header.queries))) as expanded:
            first_count = min(at_once, header.queries)
            # The first queries are checked before storage is asked for anything.
            await self._scorer.expand(record, block.ref, 0, first_count, expanded.ref, meter)
            started = time.perf_counter()
            async with self._galleries.acquire(header.collection_id, header.minimum_sequence) as whole:
                refresh_seconds = time.perf_counter() - started
                snapshot = whole.wanted(_regions(header), frozenset(header.only))
                segments = [len(snapshot.region(region)) for region in Region]
                yield ScorePlan(snapshot.sequence, snapshot.epoch, *segments)
                for first in range(0, header.queries, at_once):
                    count = min(at_once, header.queries - first)
                    if first > 0:
                        await self._scorer.expand(record, block.ref, first, count, expanded.ref, meter)
                    async for scores in self._scorer.score(snapshot, expanded.ref, first, count, meter):
                        yield scores
        yield ScoreSummary(refresh_seconds, meter.expand_seconds, meter.kernel_seconds, meter.scanned_bytes)


def _regions(header: ScoreHeader) -> tuple[Region, ...]:
    """Returns the regions for which the queries have columns."""
    return header.regions or tuple(Region)
