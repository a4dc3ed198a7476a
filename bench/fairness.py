"""What a single search waits while others ask for much: `python bench/fairness.py`, a minute.

Each heavy client is a connection of its own that sends one search of many queries; all begin together.  The
honest one searches with one query, again and again, first alone and then beside them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import processes

import blindsight
from blindsight.client.collection import Collection
from blindsight.errors import BlindsightError


def searches(collection: Collection, queries: npt.NDArray[np.float32], count: int) -> list[float]:
    """Makes searches with one query each; returns the seconds of each."""
    seconds = []
    for query in queries[:count]:
        started = time.perf_counter()
        collection.search_vectors(query)
        seconds.append(time.perf_counter() - started)
    return seconds


def heavy(address: str, queries: npt.NDArray[np.float32], begin: threading.Barrier) -> float | str:
    """Makes one search with all queries; returns its seconds, or why it was refused."""
    with blindsight.connect(address, retry_seconds=0) as vault:
        collection = vault.collection("fairness")
        begin.wait()
        started = time.perf_counter()
        try:
            collection.search_vectors(queries)
        except BlindsightError as error:
            return type(error).__name__
        return time.perf_counter() - started


def told(name: str, seconds: list[float]) -> str:
    """Returns a line with median and largest of seconds."""
    return f"{name}: median {1e3 * np.median(seconds):.0f} ms, largest {1e3 * max(seconds):.0f} ms"


def main() -> int:
    """Measures, and prints what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000, help="vectors (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=256, help="of each client (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=50, help="honest searches (default: %(default)s)")
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(options.size, options.dimension)).astype(np.float32)
    queries = rng.normal(size=(max(options.queries, options.repeats), options.dimension)).astype(np.float32)
    with processes.running(Path(tempfile.gettempdir())) as services:
        address = services.addresses["keyholder"]
        with blindsight.connect(address) as vault:
            collection = vault.create_collection(
                "fairness", embedder="none", dimension=options.dimension, expected_size=options.size
            )
            collection.ingest_vectors(rows)
            searches(collection, queries, 5)
            print(told("alone", searches(collection, queries, options.repeats)), flush=True)
            begin = threading.Barrier(options.clients + 1)
            with ThreadPoolExecutor(options.clients) as clients:
                asked = queries[: options.queries]
                running = [clients.submit(heavy, address, asked, begin) for _ in range(options.clients)]
                begin.wait()
                started = time.perf_counter()
                time.sleep(1)
                print(told("beside them", searches(collection, queries, options.repeats)), flush=True)
                ended = [one.result() for one in running]
            seconds = [one for one in ended if isinstance(one, float)]
            refused = [one for one in ended if isinstance(one, str)]
            took = time.perf_counter() - started
            print(f"heavy: {len(seconds)} done in {took:.0f} s; refused: {len(refused)} {set(refused) or ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
