"""Measures how long a rotation of keys takes, and what searches beside it wait.

    python bench/rotation.py --vectors 100000 --photos 1000

Starts the services as `blindsight up` does, fills a vault, and rotates its keys, also while one caller
searches all the time: the longest search is that which waited for the switch.  Writes all figures as JSON.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import jpegs
import machine
import numpy as np
from processes import running
from progress import Progress, phase, say
from written import write_document

import blindsight
from blindsight.client import Vault
from blindsight.wire.keys import RotationState

RESULTS = Path(__file__).parent / "results"
_QUIET_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
Figures = dict[str, Any]


class Searching:
    """One caller that searches again and again.

    Attributes:
        seconds: of each search.
    """

    def __init__(self, address: str, queries: np.ndarray) -> None:
        self._address = address
        self._queries = queries
        self.seconds: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with blindsight.connect(self._address, wait_seconds=60) as vault:
            collection = vault.collection("vectors")
            while not self._stopped.is_set():
                query = self._queries[len(self.seconds) % len(self._queries)]
                started = time.perf_counter()
                collection.search_vectors(query, k=10)
                self.seconds.append(time.perf_counter() - started)


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "rotation",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {
            "vectors": options.vectors,
            "dimension": options.dimension,
            "scheme": options.scheme,
            "photos": options.photos,
            "seed": 1,
        },
    }
    rows = np.random.default_rng(1).normal(size=(options.vectors, options.dimension)).astype(np.float32)
    with phase("JPEG files"):
        files = jpegs.gallery(options.photos, 1, options.scratch, Progress(options.photos))
    with running(options.scratch) as services:
        address = services.addresses["keyholder"]
        with blindsight.connect(address, wait_seconds=60) as vault:
            with phase("filling"):
                vault.create_collection(
                    "vectors", embedder="none", dimension=options.dimension, scheme=options.scheme
                ).ingest_vectors(rows)
            document["seconds"] = {"vectors": _rotated(vault)}
            with phase("quiet searches"), Searching(address, rows[:100]) as quiet:
                time.sleep(_QUIET_SECONDS)
            with phase("rotating beside searches"), Searching(address, rows[:100]) as beside:
                document["seconds"]["vectors, beside searches"] = _rotated(vault)
            document["search_ms"] = {"quiet": _spread(quiet.seconds), "beside": _spread(beside.seconds)}
            if options.photos:
                with phase("photos"):
                    vault.delete_collection("vectors")
                    vault.create_collection("photos").ingest(files)
                document["seconds"]["photos"] = _rotated(vault)
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def _rotated(vault: Vault) -> dict[str, float]:
    """Rotates the keys; returns the seconds until all was copied, until the new keys counted, and in all."""
    old = vault.rotation().key_id
    started = time.perf_counter()
    vault.rotate_keys()
    copied = counted = 0.0
    while True:
        now = vault.rotation()
        passed = time.perf_counter() - started
        if now.state is RotationState.COPYING:
            copied = passed
        if now.key_id != old:
            counted = counted or passed
            if now.state is RotationState.NONE:
                return {"copied": copied, "switched": counted, "cleared": passed}
        time.sleep(_PAUSE_SECONDS)


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    spread = {f"p{at}": 1e3 * float(np.percentile(seconds, at)) for at in (50, 90, 99)}
    return {**spread, "longest": 1e3 * max(seconds), "searches": len(seconds)}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000, help="(default %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="(default %(default)s)")
    parser.add_argument("--scheme", default="ckks", help="of the vectors (default %(default)s)")
    parser.add_argument("--photos", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "rotation.json", help="default: results/rotation.json"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path("/var/tmp"), help="on a real disk (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.vectors < 1 or options.photos < 0:
        parser.error("want at least 1 vector, and 0 photos or more")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    for name, seconds in document["seconds"].items():
        say(f"{name:<26}" + "".join(f"  {what} {value:6.1f} s" for what, value in seconds.items()))
    for name, spread in document["search_ms"].items():
        say(f"search, {name:<10}" + "".join(f"  {at} {value:7.1f}" for at, value in spread.items()))
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
