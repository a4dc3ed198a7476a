"""The input of a baseline program, and its output: lines of JSON on standard output.

Each line is {"done": 3, "total": 12} during the work, the last one {"answer": {...}}.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """The photos to compare.

    Attributes:
        gallery: [n, 3, 4096], the photos to store.
        queries: [m, 3, 4096].
        pairs: [p, 2], rows of queries and of the gallery to compare with each other.
    """

    gallery: Pixels
    queries: Pixels
    pairs: npt.NDArray[np.int64]

    @classmethod
    def read(cls) -> Self:
        """Reads the sample from the file that the command line names."""
        with np.load(sys.argv[1]) as file:
            return cls(file["gallery"], file["queries"], file["pairs"])


def report(done: int, total: int) -> None:
    """Writes the progress."""
    _write({"done": done, "total": total})


def answer(document: dict[str, Any]) -> None:
    """Writes the results."""
    _write({"answer": document})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")  # noqa: TID251 - for the process that reads it
    sys.stdout.flush()


def finite(value: float) -> float | None:
    """Returns a number that JSON can represent; None for infinity or NaN, which overflow can lead to."""
    return float(value) if np.isfinite(value) else None
