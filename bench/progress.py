"""Progress of a benchmark, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVERY_SECONDS = 5.0


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Prints the name of a phase at its beginning, and its duration at the end."""
    say(f"{what} ...")
    started = time.perf_counter()
    yield
    say(f"{what}: {time.perf_counter() - started:.1f} s")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Prints the progress every few seconds."""

    def __init__(self, total: int, what: str = "") -> None:
        self._total, self._what, self._said = total, what, time.perf_counter()

    def __call__(self, done: int) -> None:
        if time.perf_counter() - self._said > _EVERY_SECONDS:
            self._said = time.perf_counter()
            say(f"  {done:,} of {self._total:,}{self._what}")
