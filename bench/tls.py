"""Measures what mutual TLS between the services, and tokens of users, cost a search and an ingest.

    python bench/tls.py --size 100000

Two vaults run side by side, alike but for certificates and tokens.  In turns the same vectors go into both,
and the same queries are asked of both, so that what else the machine does meets both.  Writes all figures as
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import machine
import numpy as np
from progress import phase, say
from written import write_document

import blindsight
from blindsight.client import Collection
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.runtime.roles import Role
from blindsight.trusted.identity import Authority

RESULTS = Path(__file__).parent / "results"
NAME = "tls"
PARTS = 10
_WARMING = 20  # queries of each vault that are not measured
_SERVICES = (Role.STORAGE, Role.EVALUATOR, Role.KEYHOLDER)
Figures = dict[str, Any]


@contextmanager
def _vault(folder: Path, *, tls: bool) -> Iterator[Collection]:
    """Runs a vault while the block runs; yields its only collection."""
    authority = Authority.create(folder / "authority") if tls else None
    (folder / "passphrase").write_text("words of a benchmark\n")
    addresses: dict[str, str] = {}
    with ExitStack() as stack:
        for role in _SERVICES:
            settings = {"data": str(folder / role), **addresses}
            if role is Role.KEYHOLDER:
                settings |= {"passphrase_file": str(folder / "passphrase"), "create_keys": "true"}
                settings["require_tokens"] = str(tls).lower()
            if authority is not None:
                authority.issue(role, folder / role / "tls", [], 1)
                settings["tls"] = str(folder / role / "tls")
            addresses[f"{role}_address"] = stack.enter_context(_service(role, settings))
        token = folder / Role.KEYHOLDER / OWNER_TOKEN_FILE if tls else None
        with blindsight.connect(addresses["keyholder_address"], token_file=token) as vault:
            yield vault.create_collection(NAME, embedder="none", dimension=128)


@contextmanager
def _service(role: Role, settings: dict[str, str]) -> Iterator[str]:
    variables = {f"BLINDSIGHT_{role.upper()}_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"services.{role}"],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            line = process.stdout.readline() if process.stdout is not None else b""
            yield str(json.loads(line)["address"])
        finally:
            process.terminate()
            process.wait()


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    random = np.random.default_rng(1)
    gallery = random.standard_normal((options.size, 128)).astype(np.float32)
    queries = random.standard_normal((options.queries + _WARMING, 128)).astype(np.float32)
    seconds: dict[str, dict[str, list[float]]] = {"ingest": {}, "search": {}}
    with (
        tempfile.TemporaryDirectory(dir=options.scratch, prefix="blindsight-bench-") as made,
        ExitStack() as stack,
    ):
        vaults = {}
        for name in ("plain", "tls"):
            (Path(made) / name).mkdir()
            vaults[name] = stack.enter_context(_vault(Path(made) / name, tls=name == "tls"))
        with phase(f"{options.size} vectors, in turns"):
            for part in np.array_split(gallery, PARTS):
                for name, collection in vaults.items():
                    seconds["ingest"].setdefault(name, []).append(_timed(collection.ingest_vectors, part))
        with phase(f"{options.queries} queries, in turns"):
            for at, query in enumerate(queries):
                for name, collection in vaults.items():
                    taken = _timed(collection.search_vectors, query)
                    if at >= _WARMING:
                        seconds["search"].setdefault(name, []).append(taken)
    return {
        "benchmark": "tls",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {"size": options.size, "dimension": 128, "queries": options.queries, "seed": 1},
        "search_p50_ms": {name: 1e3 * float(np.median(taken)) for name, taken in seconds["search"].items()},
        "search_p95_ms": {
            name: 1e3 * float(np.percentile(taken, 95)) for name, taken in seconds["search"].items()
        },
        "ingest_vectors_per_second": {
            name: options.size / sum(taken) for name, taken in seconds["ingest"].items()
        },
        "ingest_part_p50_seconds": {
            name: float(np.median(taken)) for name, taken in seconds["ingest"].items()
        },
        "seconds": seconds,
    }


def _timed(work: Any, what: np.ndarray) -> float:
    started = time.perf_counter()
    work(what)
    return time.perf_counter() - started


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=100_000, help="vectors (default %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="that are measured (default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument("--out", type=Path, default=RESULTS / "tls.json", help="default: results/tls.json")
    parser.add_argument(
        "--scratch", type=Path, default=Path("/var/tmp"), help="on a real disk (default %(default)s)"
    )
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    for what in ("search_p50_ms", "search_p95_ms", "ingest_vectors_per_second"):
        say(f"{what:<26}" + "".join(f"  {name} {value:10.1f}" for name, value in document[what].items()))
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
