"""Plaintext search over the same vectors: FAISS and numpy, which hide nothing."""

from __future__ import annotations

import time
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def measure_faiss(gallery: Matrix, queries: Matrix, k: int, threads: int, repeats: int) -> dict[str, Any]:
    """Exact inner product search with `IndexFlatIP`, one query at a time, then all in one call.

    Args:
        gallery, queries: [n, d] and [m, d], float32.
        repeats: rounds over the queries.
    """
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    index.search(queries[:1], k)
    single = [
        timed(lambda query=query: index.search(query[None], k)) for _ in range(repeats) for query in queries
    ]
    together = [timed(lambda: index.search(queries, k)) for _ in range(repeats)]
    return {
        "index": "IndexFlatIP",
        "version": faiss.__version__,
        "threads": threads,
        "seconds_per_query": single,
        "p50_seconds": float(np.median(single)),
        "batch_queries": len(queries),
        "batch_p50_seconds": float(np.median(together)),
    }


def measure_numpy(gallery: Matrix, queries: Matrix, repeats: int) -> dict[str, Any]:
    """All inner products of one query at a time by a float32 matrix product, without a ranking."""
    gallery @ queries[0]
    single = [timed(lambda query=query: gallery @ query) for _ in range(repeats) for query in queries]
    return {"version": np.__version__, "p50_seconds": float(np.median(single)), "seconds_per_query": single}


def timed(work: Any) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
