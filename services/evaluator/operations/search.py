"""Searches: each is checked on arrival, received, and scored pass by pass."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from blindsight.additive import query
from blindsight.ciphertext.header import (
    HEADER,
    SECRET_MAGICS,
    BlockHeader,
    Form,
    check_expected,
    check_form,
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
from services.evaluator.operations.intake import Digest, check_digest, check_digest_size, next_chunk
from services.evaluator.operations.plain_query_search import PlainQuerySearches
from services.evaluator.shared_memory import SharedMemory

COLLECTION_ID_BYTES = 16
MAX_QUERY_BYTES = 256 << 20
# Limit of the queries that are received or scored at the same time, over all clients.
MAX_RECEIVED_BYTES = 512 << 20
# Queries that share one pass over the gallery.
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


def check_block(header: BlockHeader, announced: ScoreHeader, record: CollectionRecord) -> None:
    """Refuses a block that is not the announced queries for this collection.

    Raises:
        InvalidCiphertext: if its parameter set, key, size, count or form is another.
    """
    check_expected(header, record.parameters, record.key_id)
    check_form(header, Form.COLUMNS)
    check_size(header, announced.size_bytes)
    wanted = announced.queries * record.layout.query_ciphertexts
    if header.count != wanted:
        raise InvalidCiphertext(f"block of {header.count} ciphertexts, want {wanted}")


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
        data = block.read(0, block.size_bytes)
        return self._visible.run(record, data, header.queries, header.minimum_sequence)

    async def _receive(
        self,
        header: ScoreHeader,
        chunks: AsyncIterator[bytes],
        record: AnyRecord,
        block: SharedMemory,
    ) -> None:
        digest = Digest()
        while (chunk := await next_chunk(chunks, self._stall_seconds)) is not None:
            if not chunk or block.size_bytes + len(chunk) > header.size_bytes:
                raise InvalidArgument(f"an empty chunk, or more than the announced {header.size_bytes} bytes")
            block.append(chunk)
            await digest.add(chunk)
        sha256 = await digest.finish()
        # Checked before the size and the digest, so that a secret key is always reported as one.
        head = block.read(0, HEADER.size)
        check_head(head, record)
        parsed = parse_header(head) if isinstance(record, CollectionRecord) else None
        if block.size_bytes != header.size_bytes:
            raise InvalidArgument(f"queries: {block.size_bytes} bytes came, want {header.size_bytes}")
        check_digest(sha256, header.sha256, "queries")
        if parsed is not None and isinstance(record, CollectionRecord):
            check_block(parsed, header, record.within(_regions(header)))

    async def _score(
        self, header: ScoreHeader, record: CollectionRecord, block: SharedMemory
    ) -> AsyncIterator[ScorePart]:
        meter = Meter()
        queries = _queries(record, block, header.queries)
        # The queries are checked before storage is asked for anything.
        checked_seconds = await self._scorer.check(*queries.values())
        started = time.perf_counter()
        async for progress in self._galleries.reach(header.collection_id, header.minimum_sequence):
            yield progress
        async with self._galleries.acquire(header.collection_id, header.minimum_sequence) as whole:
            refresh_seconds = time.perf_counter() - started
            snapshot = whole.within(_regions(header))
            main, tail = (len(snapshot.region(region)) for region in Region)
            yield ScorePlan(snapshot.sequence, snapshot.epoch, main, tail, snapshot.chain)
            for first in range(0, header.queries, PASS_QUERIES):
                count = min(PASS_QUERIES, header.queries - first)
                chosen = {region: of.part(first, first + count) for region, of in queries.items()}
                async for scores in self._scorer.score(snapshot, chosen, first, count, meter):
                    yield scores
        yield ScoreSummary(refresh_seconds, checked_seconds, meter.kernel_seconds, meter.scanned_bytes)


def _queries(record: CollectionRecord, block: SharedMemory, count: int) -> dict[Region, tasks.Blocks]:
    """Returns the places of all queries for each region, [query][columns of its regions] in the block."""
    geometries = {region: record.geometry(region) for region in record.layout.regions}
    step = sum(geometry.size_bytes for geometry in geometries.values())
    places, offset = {}, HEADER.size
    for region, geometry in geometries.items():
        places[region] = tasks.Blocks(block.ref, geometry, offset, step, count)
        offset += geometry.size_bytes
    return places


def _regions(header: ScoreHeader) -> tuple[Region, ...]:
    """Returns the regions for which the queries have columns."""
    return header.regions or tuple(Region)
