"""Measures what a long mixed load leaves in memory: the slope of each service, in bytes a minute.

    python bench/soak.py --minutes 30

Several clients at once ingest, find, fetch, verify and delete photos, append and search vectors, filter and
compare pictures, and make calls that fail in every way that a client can.  What is stored stays about the
same size, so that memory which goes on growing is a leak.  The slope is that of a line through the samples
of the second half, when caches and pools have filled.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
from PIL import Image
from processes import NAMES, Services, running
from progress import say
from written import write_document

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError

RESULTS = Path(__file__).parent / "results"
KEPT_PHOTOS = 40
KEPT_ROWS = 4000
DIMENSION = 64
SIDE = 96
_SAMPLE_SECONDS = 5.0
Figures = dict[str, Any]


def picture(random: np.random.Generator) -> bytes:
    """Returns a PNG with structure enough for every embedder, another one each time."""
    squares = random.integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(squares).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Client:
    """One client, with a connection of its own.

    Attributes:
        counts: calls by kind; those that were refused as they should be, too.
    """

    vault: Vault
    number: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Makes the client's collections."""
        self._random = np.random.default_rng(self.number)
        scheme = ("ckks", "bfv")[self.number % 2]
        self._photos = self.vault.create_collection(f"photos{self.number}", scheme=scheme)
        self._rows = self.vault.create_collection(
            f"rows{self.number}", scheme=scheme, embedder="none", dimension=DIMENSION, expected_size=KEPT_ROWS
        )
        self._kept: list[tuple[str, bytes]] = []
        self._made = 0

    def step(self) -> None:
        """Does one thing of each kind."""
        for kind in (self._photo, self._vectors, self._images, self._mistakes):
            kind()

    def _done(self, what: str, call: Callable[[], Any]) -> Any:
        answer = call()
        self.counts[what] += 1
        return answer

    def _photo(self) -> None:
        data = picture(self._random)
        self._done("ingest", lambda: self._photos.ingest([("a.png", data)]))
        hit = self._done("search", lambda: self._photos.search(data, k=5)).results[0][0]
        self._kept.append((hit.id, data))
        name, wanted = self._kept[self._random.integers(len(self._kept))]
        if self._done("get", lambda: self._photos.get(name)).data != wanted:
            raise RuntimeError("a photo came back with other bytes")
        self._done("verify", lambda: self._photos.verify(hit.id, data))
        if len(self._kept) > KEPT_PHOTOS:
            self._done("delete", lambda: self._photos.delete(self._kept.pop(0)[0]))

    def _vectors(self) -> None:
        rows = self._random.normal(size=(200, DIMENSION)).astype(np.float32)
        first = self._made
        self._made += len(rows)
        names = [f"row{number}" for number in range(first, self._made)]
        self._done("append vectors", lambda: self._rows.ingest_vectors(rows, names))
        found = self._done("search vectors", lambda: self._rows.search_vectors(rows[:8], k=10))
        if [hits[0].id for hits in found.results] != names[:8]:
            raise RuntimeError("a vector did not find itself")
        if first >= KEPT_ROWS:
            gone = [f"row{number}" for number in range(first - KEPT_ROWS, first - KEPT_ROWS + len(rows))]
            self._done("delete vectors", lambda: self._rows.delete(gone))
            if self._made % KEPT_ROWS == 0:
                self._done("repack", self._rows.repack)

    def _images(self) -> None:
        one, other = picture(self._random), picture(self._random)
        self._done("filter", lambda: self.vault.filter(one, ["gaussian:3"]))
        self._done("difference", lambda: self.vault.diff(one, other))

    def _mistakes(self) -> None:
        calls: tuple[Callable[[], Any], ...] = (
            lambda: self._photos.search(b"no photo"),
            lambda: self._photos.get("nobody"),
            lambda: self._rows.search_vectors(np.full((1, DIMENSION), np.nan)),
            lambda: self._rows.ingest_vectors(np.ones((1, DIMENSION)), [f"row{self._made - 1}"]),
            lambda: self.vault.collection("none").search(b"no photo"),
            lambda: self.vault.diff(picture(self._random), b"no photo"),
        )
        for call in calls:
            with suppress(BlindsightError):
                call()
                raise RuntimeError("a mistake was taken for right")
            self.counts["refused"] += 1


@dataclass
class Samples:
    """Memory of the services over time.

    Attributes:
        seconds: of each sample, since the first.
        memory: bytes of each service with its workers, by name.
    """

    seconds: list[float] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def take(self, services: Services, started: float) -> None:
        """Adds a sample."""
        found = services.memory_bytes()
        self.seconds.append(time.perf_counter() - started)
        for name in NAMES:
            self.memory[name].append(found[name])

    def slopes(self) -> dict[str, float]:
        """Returns bytes a minute in the second half, by name."""
        half = len(self.seconds) // 2
        minutes = np.array(self.seconds[half:]) / 60
        return {name: float(np.polyfit(minutes, values[half:], 1)[0]) for name, values in self.memory.items()}


def load(services: Services, clients: int, minutes: float) -> tuple[Samples, Counter[str]]:
    """Runs the clients for this long; raises what one of them raised."""
    ended, samples, counts, failed = threading.Event(), Samples(), Counter[str](), []

    def work(number: int) -> None:
        try:
            with blindsight.connect(services.addresses["keyholder"]) as vault:
                client = Client(vault, number)
                while not ended.is_set():
                    client.step()
                counts.update(client.counts)
        except Exception as error:  # noqa: BLE001 - raised below, by the thread that waits
            failed.append(error)
            ended.set()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    while not ended.wait(_SAMPLE_SECONDS):
        samples.take(services, started)
        if len(samples.seconds) % 12 == 0:
            said = ", ".join(f"{name} {values[-1] >> 20} MB" for name, values in samples.memory.items())
            say(f"  {samples.seconds[-1] / 60:.0f} of {minutes:g} minutes: {said}")
        if samples.seconds[-1] > 60 * minutes:
            ended.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return samples, counts


def main() -> int:
    """Runs the load and writes the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    options = parser.parse_args()
    description = machine.describe()
    with running(Path(tempfile.gettempdir())) as services:
        samples, counts = load(services, options.clients, options.minutes)
    slopes = samples.slopes()
    document: Figures = {
        "benchmark": "soak",
        "machine": description,
        "parameters": {"minutes": options.minutes, "clients": options.clients},
        "calls": dict(sorted(counts.items())),
        "slope_bytes_per_minute": slopes,
        "seconds": samples.seconds,
        "memory_bytes": samples.memory,
    }
    write_document(options.out, document)
    print(f"{counts.total():,} calls, of which {counts['refused']:,} were refused as they should be")
    for name, values in samples.memory.items():
        half = values[len(values) // 2]
        print(
            f"{name:10} {values[0] / 1e6:6.0f} MB at first, {half / 1e6:6.0f} at half time, "
            f"{values[-1] / 1e6:6.0f} at the end: {slopes[name] / 1e6:+.2f} MB a minute"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
