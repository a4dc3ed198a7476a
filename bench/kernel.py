"""Measures the kernel alone, beside reading the same memory and beside FAISS on plaintext, in one run.

    python bench/kernel.py --size 1000000 --dimension 128

Random residues replace ciphertexts: the kernel's work does not depend on their values.  The gallery has the
layout of a collection of this size, and is in memory-mapped files, as in the evaluator.  Repeats of all works
are interleaved, because a rented machine shares its memory bandwidth with others.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from written import write_document

from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import Layout, collection_layout, plan_stride
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096, PARAMETER_SETS, ParameterSet
from blindsight.ring.tiles import Geometry
from blindsight.runtime.host import cores
from services.evaluator.computing.checksums import checksum
from services.evaluator.computing.kernel import Kernel
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import SegmentHeader, map_segment, write_segment

RESULTS = Path(__file__).parent / "results"
BATCHES = (8, 32)
K = 10
# Answers that the kernel writes in one call, as in the evaluator.
_ANSWER_BYTES = 16 << 20
Figures = dict[str, Any]


class Work(NamedTuple):
    """Something to measure.

    Attributes:
        run: does it once.
        size_bytes: of the gallery that it reads.
        queries: queries that it answers.
    """

    run: Callable[[], object]
    size_bytes: int
    queries: int = 1


def gallery(folder: Path, parameters: ParameterSet, layout: Layout, size: int) -> list[Residues]:
    """Writes segment files of random residues, and returns them memory-mapped."""
    whole = collection_layout(layout.fields, layout.ring_degree, layout.stride)
    record = CollectionRecord(bytes(16), parameters, bytes(16), whole)
    random = np.random.default_rng(1)
    mapped = []
    for index in range(-(-size // layout.capacity)):
        header = SegmentHeader.of(record, SegmentId(Region.MAIN, index), 1)
        block = random.integers(0, min(parameters.primes), header.geometry.shape, np.uint32)
        path = folder / f"{index}.seg"
        write_segment(path, header, block, checksum)
        mapped.append(map_segment(path, checksum)[1])
    return mapped


def multiplying(
    segments: Sequence[Residues], parameters: ParameterSet, layout: Layout, queries: int, threads: int
) -> Work:
    """Returns a function that runs one pass of the kernel over the gallery."""
    random, shape = np.random.default_rng(2), Geometry(parameters, layout.columns).shape
    asked = [random.integers(0, min(parameters.primes), shape, np.uint32) for _ in range(queries)]
    words = len(layout.fields) * len(parameters.primes) * layout.answer_size
    step = max(1, _ANSWER_BYTES // (4 * words * queries))
    out = np.zeros(min(step, len(segments)) * queries * words, np.uint32)
    kernel = Kernel(threads)

    def work() -> None:
        for start in range(0, len(segments), step):
            part = segments[start : start + step]
            offsets = np.arange(len(part) * queries, dtype=np.int64).reshape(len(part), queries) * words
            kernel.multiply(part, asked, parameters, layout.field_columns, layout.fold, out, offsets)

    return Work(work, sum(block.nbytes for block in segments), queries)


def reading(segments: Sequence[Residues], threads: int) -> Work:
    """Returns a function that reads the gallery once."""
    words = [block.reshape(-1).view(np.uint64) for block in segments]
    return Work(machine.Reader(words, threads).gb_per_second, sum(part.nbytes for part in words))


def flat(size: int, dimension: int, threads: int) -> dict[str, Work]:
    """Returns searches of FAISS's exact index on plaintext vectors; none if FAISS is not installed.

    A single query: with one thread, and with an index for each core, each of which has a part of the vectors,
    which is as fast as the memory.  Batches: with all threads.
    """
    try:
        import faiss
    except ImportError:
        return {}
    vectors = np.random.default_rng(3).standard_normal((size, dimension), np.float32)
    index = faiss.IndexFlatIP(dimension)
    index.add(vectors)
    parts = []
    for part in np.array_split(vectors, threads):
        parts.append(faiss.IndexFlatIP(dimension))
        parts[-1].add(part)
    # The number of OpenMP threads applies only to the thread that sets it.
    pool = ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,))

    def search(count: int, queries: int) -> None:
        faiss.omp_set_num_threads(count)
        index.search(vectors[:queries], K)

    def dealt_out() -> None:
        list(pool.map(lambda one: one.search(vectors[:1], K), parts))

    return {
        "faiss, one thread": Work(partial(search, 1, 1), vectors.nbytes),
        "faiss, an index a core": Work(dealt_out, vectors.nbytes),
        **{
            f"faiss, batch of {count}": Work(partial(search, threads, count), vectors.nbytes, count)
            for count in BATCHES
        },
    }


def measure(works: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Measures the seconds of every function in interleaved rounds; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work.run()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def run(options: argparse.Namespace, folder: Path) -> Figures:
    """Runs the benchmark; returns all figures."""
    description = machine.describe()
    parameters: ParameterSet = PARAMETER_SETS[options.parameter_set]
    size, dimension, threads = options.size, options.dimension, options.threads
    stride = plan_stride((dimension,), parameters.ring_degree, size, parameters.most_stride)
    layout = Layout((dimension,), stride, parameters.ring_degree)
    segments = gallery(folder, parameters, layout, size)
    gallery_bytes = sum(block.nbytes for block in segments)
    scanned = len(segments) * layout.capacity
    works = {"read": reading(segments, threads)}
    for count in (1, *BATCHES):
        name = "kernel, one query" if count == 1 else f"kernel, batch of {count}"
        works[name] = multiplying(segments, parameters, layout, count, threads)
    works |= flat(size, dimension, threads)
    seconds = measure(works, options.repeats)
    return {
        "machine": description,
        "parameters": {
            "size": size,
            "dimension": dimension,
            "parameter_set": parameters.name,
            "stride": stride,
            "segments": len(segments),
            "vectors_scanned": scanned,
            "threads": threads,
            "repeats": options.repeats,
            "gallery_bytes": gallery_bytes,
            "bytes_per_value": gallery_bytes / (scanned * dimension),
        },
        "measured": {name: figures(works[name], found) for name, found in seconds.items()},
    }


def figures(work: Work, seconds: list[float]) -> Figures:
    """Returns best, median and all seconds, the time of each query, and bytes per second of one pass."""
    best, median = min(seconds), float(np.median(seconds))
    return {
        "queries": work.queries,
        "best_seconds": best,
        "median_seconds": median,
        "median_seconds_per_query": median / work.queries,
        "size_bytes": work.size_bytes,
        "best_gb_per_second": work.size_bytes / best / 1e9,
        "median_gb_per_second": work.size_bytes / median / 1e9,
        "all_seconds": seconds,
    }


def show(document: Figures) -> None:
    """Prints a line for each figure."""
    given = document["parameters"]
    print(
        f"{given['size']:,} x {given['dimension']} under {given['parameter_set']}: "
        f"{given['gallery_bytes'] / 1e6:,.0f} MB, {given['bytes_per_value']:.2f} bytes a value"
    )
    for name, found in document["measured"].items():
        print(
            f"{name:24} best {1e3 * found['best_seconds']:8.1f} ms  "
            f"median {1e3 * found['median_seconds']:8.1f} ms  "
            f"a query {1e3 * found['median_seconds_per_query']:7.1f} ms  "
            f"{found['best_gb_per_second']:6.1f} GB/s"
        )


def main() -> int:
    """Measures, prints a line for each figure and writes all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--parameter-set", choices=PARAMETER_SETS, default=CKKS_4096.name)
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    parser.add_argument("--repeats", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, help="default: results/kernel-SIZExDIMENSION[-SET].json beside this file"
    )
    options = parser.parse_args()
    of_set = "" if options.parameter_set == CKKS_4096.name else f"-{options.parameter_set}"
    options.out = options.out or RESULTS / f"kernel-{options.size}x{options.dimension}{of_set}.json"
    folder = Path(tempfile.mkdtemp(prefix="blindsight-bench-"))
    try:
        document = run(options, folder)
    finally:
        shutil.rmtree(folder)
    show(document)
    write_document(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
