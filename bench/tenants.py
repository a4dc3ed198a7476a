"""Measures what one tenant's searches wait while another takes all it can get: `python bench/tenants.py`.

The greedy tenant keeps hundreds of searches of one query each waiting, and ingests vectors all the while.
The modest one searches with one query, again and again, in turns alone and beside the greedy one.  The
greedy clients are another process at a lower priority, since they would be on other machines.  Writes all
figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import machine
import numpy as np
import processes
from progress import phase, say
from written import write_document

import blindsight
from blindsight.client import AsyncVault, Collection
from blindsight.errors import BlindsightError

RESULTS = Path(__file__).parent / "results"
NAME = "tenants"
_WARMING = 20  # queries that are not measured
_NICE = 10
_BEGINNING_SECONDS = 3.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the whole benchmark; returns all figures."""
    random = np.random.default_rng(1)
    gallery = random.standard_normal((options.size, options.dimension)).astype(np.float32)
    queries = random.standard_normal((options.queries + _WARMING, options.dimension)).astype(np.float32)
    seconds: dict[str, list[float]] = {"alone": [], "beside_greedy": []}
    with processes.running(options.scratch) as services, tempfile.TemporaryDirectory() as folder:
        address, files = services.addresses["keyholder"], {}
        with blindsight.connect(address) as operator:
            for tenant in ("modest", "greedy"):
                files[tenant] = Path(folder) / tenant
                files[tenant].write_text(operator.create_tenant(tenant).token)
        with phase(f"{options.size} vectors of each tenant"):
            for file in files.values():
                with blindsight.connect(address, token_file=file) as vault:
                    made = vault.create_collection(NAME, embedder="none", dimension=options.dimension)
                    made.ingest_vectors(gallery)
        with blindsight.connect(address, token_file=files["modest"]) as vault:
            collection = vault.collection(NAME)
            _searches(collection, queries[:_WARMING])
            done = 0
            for part in np.array_split(queries[_WARMING:], options.rounds):
                with phase(f"{len(part)} queries, alone"):
                    seconds["alone"] += _searches(collection, part)
                with (
                    phase(f"{len(part)} queries, beside {options.clients} others"),
                    _greedy(options, address, files["greedy"]) as counted,
                ):
                    seconds["beside_greedy"] += _searches(collection, part)
                done += sum(counted)
        return {
            "benchmark": NAME,
            "machine": machine.describe(),
            "note": options.note,
            "parameters": {
                **{
                    name: getattr(options, name)
                    for name in ("size", "dimension", "queries", "clients", "rounds")
                },
                "seed": 1,
            },
            **{f"p{percent}_ms": _percentiles(seconds, percent) for percent in (50, 95, 99)},
            "p99_ratio": float(
                np.divide(*(np.percentile(seconds[one], 99) for one in ("beside_greedy", "alone")))
            ),
            "greedy_searches_per_second": done / sum(seconds["beside_greedy"]),
            "memory_bytes": services.memory_bytes(),
            "seconds": seconds,
        }


def _percentiles(seconds: dict[str, list[float]], percent: int) -> dict[str, float]:
    return {name: 1e3 * float(np.percentile(taken, percent)) for name, taken in seconds.items()}


def _searches(collection: Collection, queries: np.ndarray) -> list[float]:
    seconds = []
    for query in queries:
        started = time.perf_counter()
        collection.search_vectors(query)
        seconds.append(time.perf_counter() - started)
    return seconds


@contextmanager
def _greedy(options: argparse.Namespace, address: str, file: Path) -> Iterator[list[int]]:
    """Runs the greedy clients while the block runs; then the list says how many searches they made."""
    again = [sys.executable, __file__, "--dimension", str(options.dimension)]
    command = [*again, "--clients", str(options.clients), "--greedy", address, str(file)]
    counted: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(_BEGINNING_SECONDS)
            yield counted
        finally:
            process.terminate()
            counted.append(int(process.communicate()[0] or 0))


async def _take_all(options: argparse.Namespace) -> None:
    os.nice(_NICE)
    address, file = options.greedy
    random = np.random.default_rng(2)
    done = 0

    async def search() -> None:
        nonlocal done
        while True:
            with suppress(BlindsightError):
                await collection.search_vectors(random.standard_normal(options.dimension).astype(np.float32))
                done += 1

    async def ingest() -> None:
        while True:
            rows = random.standard_normal((2000, options.dimension)).astype(np.float32)
            with suppress(BlindsightError):
                await collection.ingest_vectors(rows)

    async with AsyncVault(address, token_file=file) as vault:
        collection = vault.collection(NAME)
        running = [asyncio.create_task(search()) for _ in range(options.clients)]
        running.append(asyncio.create_task(ingest()))
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(15, stopped.set)
        await stopped.wait()
        print(done, flush=True)
        os._exit(0)  # calls that wait need not be waited for


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=10_000, help="vectors of each (default %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="default %(default)s")
    parser.add_argument("--queries", type=int, default=600, help="of the modest one (default %(default)s)")
    parser.add_argument(
        "--clients", type=int, default=300, help="greedy searches at once (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=4, help="alone and beside (default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "tenants.json", help="default: results/tenants.json"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path("/var/tmp"), help="on a real disk (default %(default)s)"
    )
    parser.add_argument("--greedy", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    if options.greedy:
        asyncio.run(_take_all(options))
    document = measure(options)
    write_document(options.out, document)
    for what in ("p50_ms", "p95_ms", "p99_ms"):
        say(f"{what:<8}" + "".join(f"  {name} {value:8.1f}" for name, value in document[what].items()))
    say(f"greedy: {document['greedy_searches_per_second']:.1f} searches a second")
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
