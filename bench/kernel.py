"""Measures the fused kernel alone, and compares it with reading the same memory and with FAISS.

    python bench/kernel.py --size 1000000 --dimension 128

Random residues replace ciphertexts: the kernel's work does not depend on their values.  The gallery
is in memory-mapped files, as in the evaluator.  Repeats of the three are interleaved, because a
rented machine shares its memory bandwidth with others.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096 as PARAMETERS
from blindsight.runtime.host import cores
from services.evaluator.computing.kernel import Kernel
from services.evaluator.computing.tiles import checksum
from services.evaluator.geometry import CollectionRecord, Geometry
from services.evaluator.segments import SegmentHeader, map_segment, write_segment

RESULTS = Path(__file__).parent / "results"
QUERIES = (1, 4, 16)


def gallery(folder: Path, segments: int, dimension: int) -> list[Residues]:
    """Writes segment files of random residues, and returns them memory-mapped."""
    layout = collection_layout((dimension,), PARAMETERS.ring_degree, 1)
    record = CollectionRecord(bytes(16), PARAMETERS, bytes(16), layout)
    random = np.random.default_rng(1)
    mapped = []
    for index in range(segments):
        header = SegmentHeader.of(record, SegmentId(Region.MAIN, index), 1)
        block = random.integers(0, min(PARAMETERS.primes), header.geometry.shape, np.uint32)
        path = folder / f"{index}.seg"
        write_segment(path, header, block, checksum)
        mapped.append(map_segment(path, checksum)[1])
    return mapped


@numba.njit(nogil=True)
def _total(words: Any) -> Any:
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


def reading(blocks: Sequence[Residues], threads: int) -> Callable[[], object]:
    """Returns a function that reads the gallery once, each thread a part of every block, like the kernel."""
    words = [part for block in blocks for part in np.array_split(block.reshape(-1).view(np.uint64), threads)]
    pool = ThreadPoolExecutor(threads)
    _total(words[0][:8])

    def work(thread: int) -> None:
        for part in words[thread::threads]:
            _total(part)

    return lambda: list(pool.map(work, range(threads)))


def scoring(blocks: Sequence[Residues], dimension: int, queries: int, threads: int) -> Callable[[], None]:
    """Returns a function that runs one pass of the kernel over the gallery."""
    geometry = Geometry(PARAMETERS, dimension)
    random = np.random.default_rng(2)
    query = random.integers(0, min(PARAMETERS.primes), (queries, *geometry.shape), np.uint32)
    count = len(blocks) * queries
    out = np.zeros(count * geometry.score_words, np.uint32)
    offsets = np.arange(count, dtype=np.int64).reshape(len(blocks), queries) * geometry.score_words
    kernel = Kernel(threads)
    return lambda: kernel.score(blocks, query, PARAMETERS, ((0, dimension),), out, offsets)


def flat(size: int, dimension: int, threads: int) -> dict[str, Callable[[], object]]:
    """Returns functions for a search of FAISS's exact index on plaintext vectors; none if not installed.

    With one thread and with all: FAISS 1.15 takes longer with two than with one for a single query.
    """
    try:
        import faiss
    except ImportError:
        return {}
    index = faiss.IndexFlatIP(dimension)
    vectors = np.random.default_rng(3).standard_normal((size, dimension), np.float32)
    index.add(vectors)

    def search(count: int) -> None:
        faiss.omp_set_num_threads(count)
        index.search(vectors[:1], 10)

    return {f"faiss IndexFlatIP, {count} threads": partial(search, count) for count in sorted({1, threads})}


def measure(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Measures the seconds of every function in interleaved rounds; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def run(size: int, dimension: int, threads: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Runs the benchmark; returns all figures."""
    description = machine.describe()
    segments = -(-size // PARAMETERS.ring_degree)
    blocks = gallery(folder, segments, dimension)
    size_bytes = sum(block.nbytes for block in blocks)
    works: dict[str, Callable[[], object]] = {"read": reading(blocks, threads)}
    works |= {f"kernel, {count} queries": scoring(blocks, dimension, count, threads) for count in QUERIES}
    works |= flat(size, dimension, threads)
    seconds = measure(works, repeats)
    return {
        "machine": description,
        "parameters": {
            "size": size,
            "dimension": dimension,
            "segments": segments,
            "vectors_scanned": segments * PARAMETERS.ring_degree,
            "parameter_set": PARAMETERS.name,
            "threads": threads,
            "repeats": repeats,
            "gallery_bytes": size_bytes,
        },
        "measured": {name: figures(found, name, size_bytes) for name, found in seconds.items()},
    }


def figures(seconds: list[float], name: str, size_bytes: int) -> dict[str, Any]:
    """Returns best, median and all seconds; and bytes per second where the encrypted gallery was read."""
    found: dict[str, Any] = {
        "best_seconds": min(seconds),
        "median_seconds": float(np.median(seconds)),
        "all_seconds": seconds,
    }
    if not name.startswith("faiss"):
        found["best_gb_per_second"] = size_bytes / min(seconds) / 1e9
        found["median_gb_per_second"] = size_bytes / float(np.median(seconds)) / 1e9
    return found


def main() -> int:
    """Measures, prints a line for each figure and writes all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, help="default: results/kernel-SIZExDIMENSION.json beside this file"
    )
    given = parser.parse_args()
    given.out = given.out or RESULTS / f"kernel-{given.size}x{given.dimension}.json"
    folder = Path(tempfile.mkdtemp(prefix="blindsight-bench-"))
    try:
        document = run(given.size, given.dimension, given.threads, given.repeats, folder)
    finally:
        shutil.rmtree(folder)
    for name, found in document["measured"].items():
        rate = found.get("best_gb_per_second")
        speed = f"{rate:6.1f} GB/s" if rate else ""
        print(
            f"{name:28} best {1e3 * found['best_seconds']:7.1f} ms  "
            f"median {1e3 * found['median_seconds']:7.1f} ms  {speed}"
        )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
