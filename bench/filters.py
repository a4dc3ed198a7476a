"""Measures what a filter adds to a search: the same queries with and without one, in turns, through gRPC.

    python bench/filters.py --size 1000000

Starts the services as `blindsight up` does, ingests random unit vectors with metadata, and searches them.  A
filter is compared with the same one in numpy over the same columns, the least that it can take.  Writes all
raw figures as JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from processes import own_cores, running
from progress import Progress, phase, say
from vectors import gallery, strangers
from written import write_document

import blindsight
from blindsight.client import Collection

RESULTS = Path(__file__).parent / "results"
PLACES = ("Rome", "Paris", "Oslo", "Lima")
FILTERS = {
    "none": None,
    "one in two": "year >= 2010",
    "one in eight": 'year >= 2010 and place = "Rome"',
    "one in a thousand": "number < 1000",
    "all but a few": "not (number < 1000 or has(hidden))",
}
_AT_ONCE = 20_000
Figures = dict[str, Any]


def said(number: int) -> dict[str, Any]:
    """Returns the metadata of a vector; of 32 keys in all, five are used."""
    return {
        "number": number % 1_000_000,
        "year": 2000 + number % 20,
        "place": PLACES[number // 20 % 4],
        "tags": ["a", f"t{number % 100}"],
    }


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "filters",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {"size": options.size, "dimension": options.dimension, "queries": options.queries},
        "filters": FILTERS,
    }
    with running(options.scratch) as services, blindsight.connect(services.addresses["keyholder"]) as vault:
        collection = vault.create_collection(
            "filtered", embedder="none", dimension=options.dimension, expected_size=options.size
        )
        started = time.perf_counter()
        with phase(f"{options.size:,} vectors with metadata"):
            _ingest(collection, options)
        document["ingest_per_second"] = options.size / (time.perf_counter() - started)
        queries = strangers(options.queries, options.dimension, 2)
        with phase("first filter, which loads what is said of the items"):
            started = time.perf_counter()
            collection.count(FILTERS["one in eight"])
            document["first_filter_seconds"] = time.perf_counter() - started
        with phase("searches, in turns"):
            document["seconds"] = _searches(collection, queries)
        document["passing"] = {name: collection.count(where) for name, where in FILTERS.items()}
        document["memory_bytes"] = services.memory_bytes()
    with phase("the same filters in numpy"):
        document["numpy_seconds"] = _in_numpy(options.size)
    document["p50_ms"] = {name: 1e3 * float(np.median(one)) for name, one in document["seconds"].items()}
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def _ingest(collection: Collection, options: argparse.Namespace) -> None:
    shown = Progress(options.size)
    for start in range(0, options.size, _AT_ONCE):
        count = min(_AT_ONCE, options.size - start)
        rows = gallery(count, options.dimension, 1000 + start)
        collection.ingest_vectors(rows, metadata=[said(start + row) for row in range(count)])
        shown(start + count)


def _searches(collection: Collection, queries: Any) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in FILTERS}
    names = list(FILTERS)
    for number, query in enumerate([queries[0], *queries]):  # the first warms up
        turned = number % len(names)
        for name in names[turned:] + names[:turned]:  # none is always the first, or after the same one
            started = time.perf_counter()
            collection.search_vectors(query, k=10, where=FILTERS[name])
            seconds[name].append(time.perf_counter() - started)
    return {name: one[1:] for name, one in seconds.items()}


def _in_numpy(size: int) -> dict[str, float]:
    numbers = np.arange(size)
    year, place = (2000 + numbers % 20).astype(float), (numbers // 20 % 4).astype(np.int8)
    hidden, number = np.zeros(size, bool), (numbers % 1_000_000).astype(float)
    filters: dict[str, Callable[[], object]] = {
        "one in two": lambda: year >= 2010,
        "one in eight": lambda: (year >= 2010) & (place == 0),
        "one in a thousand": lambda: number < 1000,
        "all but a few": lambda: ~((number < 1000) | hidden),
    }
    found = {}
    for name, compute in filters.items():
        taken = []
        for _ in range(9):
            started = time.perf_counter()
            compute()
            taken.append(time.perf_counter() - started)
        found[name] = float(np.median(taken))
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=100_000, help="of the gallery (default %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="(default %(default)s)")
    parser.add_argument("--queries", type=int, default=25, help="with each filter (default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument("--out", type=Path, help="default: results/filters-SIZE.json beside this file")
    parser.add_argument(
        "--scratch", type=Path, default=Path("/var/tmp"), help="on a real disk (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    if min(options.size, options.dimension, options.queries) < 1 or own_cores() < 1:
        parser.error("want at least 1 of each")
    options.out = options.out or RESULTS / f"filters-{options.size}.json"
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    for name, milliseconds in document["p50_ms"].items():
        beside, passing = document["numpy_seconds"].get(name, 0.0), document["passing"][name]
        say(f"{name:<20} {milliseconds:7.1f} ms   numpy {1e3 * beside:6.2f} ms   {passing:,}")
    first, rate = document["first_filter_seconds"], document["ingest_per_second"]
    say(f"first filter: {first:.1f} s; ingest: {rate:,.0f} a second")
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
