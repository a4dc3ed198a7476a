"""What a benchmark says on standard error while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TELL_SECONDS = 5.0


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Says what is being done, and how long it took."""
    tell(f"{what} ...")
    started = time.perf_counter()
    yield
    tell(f"{what}: {time.perf_counter() - started:.1f} s")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Telling:
    """Says every few seconds how far something is."""

    def __init__(self, total: int, what: str = "") -> None:
        self._total, self._what, self._told = total, what, time.perf_counter()

    def __call__(self, done: int) -> None:
        if time.perf_counter() - self._told > _TELL_SECONDS:
            self._told = time.perf_counter()
            tell(f"  {done:,} of {self._total:,}{self._what}")
