"""The evaluator's part of a search, measured alone.

Its rpc is called with a random query, and the scores are not decrypted, so that the evaluator has the cores
to itself.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from processes import Services

from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region
from blindsight.parameters import of_ring
from blindsight.ring.tiles import Geometry, column_block
from blindsight.runtime.peer import Connection
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.wire.scores import ScoreSummary
from blindsight.wire.storage import StoredCollection


def measure(services: Services, cache: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Measures single queries over the only collection.

    They alternate with reading the same files at full speed, since other machines may share the memory
    bandwidth.

    Args:
        services: running services.
        cache: the evaluator's folder of segment files.
        threads: number of threads that read.
        repeats: number of queries.

    Returns:
        Seconds of the whole rpc and of the kernel in it, and GB/s (10^9) of the kernel and of reading.
    """
    pages = [np.memmap(path, np.uint64, "r") for path in sorted(cache.rglob("*.seg"))]
    reader = machine.Reader(pages, threads)
    calls, reading = asyncio.run(_measure(services, reader, repeats))
    kernel = [summary.kernel_seconds for _, summary in calls]
    rates = [summary.scanned_bytes / summary.kernel_seconds / 1e9 for _, summary in calls]
    return {
        "p50_seconds": float(np.median([seconds for seconds, _ in calls])),
        "kernel_p50_seconds": float(np.median(kernel)),
        "kernel_gb_per_second_p50": float(np.median(rates)),
        "kernel_gb_per_second_best": max(rates),
        "reading_gb_per_second_p50": float(np.median(reading)),
        "reading_gb_per_second_best": max(reading),
        "scanned_bytes": calls[0][1].scanned_bytes,
        "seconds": [seconds for seconds, _ in calls],
        "kernel_seconds": kernel,
        "check_seconds": [summary.check_seconds for _, summary in calls],
        "reading_gb_per_second": reading,
    }


async def _measure(
    services: Services, reader: machine.Reader, repeats: int
) -> tuple[list[tuple[float, ScoreSummary]], list[float]]:
    connection = Connection(certificates=services.as_keyholder())
    stored = StorageClient(services.addresses["storage"], connection)
    scoring = EvaluatorClient(services.addresses["evaluator"], connection)
    calls, reading = [], []
    try:
        (collection,) = await stored.list_collections()
        query = _query(collection)
        for _ in range(repeats):
            reading.append(reader.gb_per_second())
            calls.append(await _once(scoring, collection, query))
    finally:
        await stored.close()
        await scoring.close()
    return calls, reading


def _query(collection: StoredCollection) -> bytes:
    """Returns random residues, which look like an encrypted query without the key."""
    parameters, random = of_ring(collection.parameters, "queries"), np.random.default_rng(3)
    layout = collection_layout(
        collection.row_fields, parameters.ring_degree, collection.stride, parameters.most_stride
    )
    shapes = (Geometry(parameters, layout.of(region).columns).shape for region in Region)
    parts = [random.integers(0, min(parameters.primes), shape, np.uint32) for shape in shapes]
    return column_block(parameters, collection.key_id, parts)


async def _once(
    evaluator: EvaluatorClient, collection: StoredCollection, query: bytes
) -> tuple[float, ScoreSummary]:
    started = time.perf_counter()
    summary = None
    async for part in evaluator.score(collection.collection_id, collection.sequence, 1, [query]):
        if isinstance(part, ScoreSummary):
            summary = part
    if summary is None:
        raise RuntimeError("the evaluator ended without a summary")
    return time.perf_counter() - started, summary
