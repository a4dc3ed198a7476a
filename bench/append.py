"""Measures how long one photo takes from the call to being durable, beside what no vault can save.

    python bench/append.py --photos 300

Starts the services as `blindsight up` does, and appends JPEG files one by one through the SDK.  In turns with
these, the same file is embedded in this process, and as many bytes as storage keeps of a photo are committed
to SQLite on the same disk: together the lower limit.  Writes all raw figures as JSON.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jpegs
import machine
import numpy as np
from processes import running
from progress import Progress, phase, say
from written import write_document

import blindsight
from blindsight.client import Collection
from blindsight.runtime import host
from blindsight.trusted import embedders
from blindsight.trusted.imaging import images

RESULTS = Path(__file__).parent / "results"
_WARMING = 32  # photos for warming up, not measured
Figures = dict[str, Any]


def measure(options: argparse.Namespace) -> Figures:
    """Runs the whole benchmark; returns all figures."""
    document: Figures = {
        "benchmark": "append",
        "machine": machine.describe(),
        "note": options.note,
        "parameters": {"photos": options.photos, "width": jpegs.WIDTH, "height": jpegs.HEIGHT, "seed": 1},
    }
    with phase("JPEG files"):
        count = options.photos + _WARMING
        files = jpegs.gallery(count, 1, options.scratch, Progress(count))
    with running(options.scratch) as services, blindsight.connect(services.addresses["keyholder"]) as vault:
        collection = vault.create_collection("append")
        with phase("warming up"):
            for path in files[:_WARMING]:
                collection.ingest(path)
        photo_bytes = collection.describe().size_bytes // _WARMING
        with closing(sqlite3.connect(services.folder / "limit.db")) as limit:
            limit.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (b BLOB)"
            )
            with phase(f"{options.photos} photos, one by one"):
                seconds = _rounds(files[_WARMING:], _steps(collection, limit, os.urandom(photo_bytes)))
    document["storage_bytes_per_photo"] = photo_bytes
    document["seconds"] = seconds
    document["ms"] = {name: _spread(values) for name, values in seconds.items()}
    document["machine"]["load_average_after"] = machine.load_average()
    return document


def _steps(
    collection: Collection, limit: sqlite3.Connection, photo: bytes
) -> dict[str, Callable[[Path], object]]:
    host.keep_photos()  # as in the process that describes photos
    embedder = embedders.create("descriptor")

    def embed(path: Path) -> object:
        return embedder.embed(images.decode(path.read_bytes(), at_least=embedder.at_least))

    def commit(_: Path) -> None:
        with limit:
            limit.execute("INSERT INTO t VALUES (?)", (photo,))

    return {"append": collection.ingest, "embed": embed, "commit": commit}


def _rounds(files: Sequence[Path], steps: dict[str, Callable[[Path], object]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    shown = Progress(len(files))
    for done, path in enumerate(files):
        for name, step in steps.items():
            started = time.perf_counter()
            step(path)
            seconds[name].append(time.perf_counter() - started)
        shown(done)
    return seconds


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{at}": 1e3 * float(np.percentile(seconds, at)) for at in (10, 50, 90)}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=300, help="that are measured (default %(default)s)")
    parser.add_argument("--note", default="", help="on the circumstances, kept with the figures")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "append.json", help="default: results/append.json"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path("/var/tmp"), help="on a real disk (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.photos < 1:
        parser.error("want at least 1 photo")
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    document = measure(options)
    write_document(options.out, document)
    for name, spread in document["ms"].items():
        say(f"{name:<8}" + "".join(f"  {at} {value:6.1f} ms" for at, value in spread.items()))
    say(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
