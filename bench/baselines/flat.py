"""Plaintext search over the same vectors, with FAISS and numpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Figures = dict[str, Any]


def measure_faiss(
    gallery: Matrix, queries: Matrix, k: int, batches: Sequence[int], threads: int, repeats: int
) -> Figures:
    """Measures exact inner product search with `IndexFlatIP`, one query at a time and in batches.

    It is measured with one thread and with all, because FAISS 1.15 takes longer with two than with one for a
    single query; and with the vectors split over one index for each thread, which is as fast as the memory.

    Args:
        gallery, queries: [n, d] and [m, d], float32.
        batches: numbers of queries in one call, with all threads.
        repeats: rounds over the queries.
    """
    by_threads, by_batch = _whole(gallery, queries, k, batches, threads, repeats)
    best = min(by_threads, key=lambda count: by_threads[count]["p50_seconds"])
    return {
        "index": "IndexFlatIP",
        "version": faiss.__version__,
        "threads": int(best),
        "p50_seconds": by_threads[best]["p50_seconds"],
        "by_threads": by_threads,
        "dealt_out": _dealt_out(gallery, queries, k, threads, repeats),
        "batches": by_batch,
    }


def _whole(
    gallery: Matrix, queries: Matrix, k: int, batches: Sequence[int], threads: int, repeats: int
) -> tuple[dict[str, Figures], dict[str, Figures]]:
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    by_threads = {}
    for count in sorted({1, threads}):
        faiss.omp_set_num_threads(count)
        by_threads[str(count)] = _singles(lambda query: index.search(query, k), queries, repeats)
    by_batch = {}
    for count in batches:
        together = np.resize(queries, (count, queries.shape[1]))  # again from the first, if there are fewer
        index.search(together, k)
        seconds = [timed(lambda: index.search(together, k)) for _ in range(repeats)]  # noqa: B023 - run here
        median = float(np.median(seconds))
        by_batch[str(count)] = {
            "p50_seconds": median,
            "seconds_per_query_p50": median / count,
            "seconds": seconds,
        }
    return by_threads, by_batch


def _dealt_out(gallery: Matrix, queries: Matrix, k: int, threads: int, repeats: int) -> Figures:
    """Measures one `IndexFlatIP` per thread, each with a part of the vectors; results are not merged."""
    indices = []
    for part in np.array_split(gallery, threads):
        indices.append(faiss.IndexFlatIP(gallery.shape[1]))
        indices[-1].add(part)
    # The number of OpenMP threads applies only to the thread that sets it.
    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        return _singles(
            lambda query: list(pool.map(lambda index: index.search(query, k), indices)), queries, repeats
        )


def _singles(search: Callable[[Matrix], object], queries: Matrix, repeats: int) -> Figures:
    search(queries[:1])
    seconds = [timed(lambda query=query: search(query[None])) for _ in range(repeats) for query in queries]
    return {"p50_seconds": float(np.median(seconds)), "seconds_per_query": seconds}


def measure_numpy(gallery: Matrix, queries: Matrix, repeats: int) -> Figures:
    """Measures all inner products of one query at a time by a float32 matrix product, without ranking."""
    return {"version": np.__version__, **_singles(lambda query: gallery @ query[0], queries, repeats)}


def timed(work: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
