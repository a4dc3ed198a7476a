"""What a baseline that compares photos reads, and how it answers: lines of JSON on standard output.

Each line is {"done": 3, "total": 12} while it works, the last one {"answer": {...}}.
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
    """Photos to compare.

    Attributes:
        gallery: [n, 3, 4096], what is stored.
        queries: [m, 3, 4096].
        pairs: [p, 2], rows of queries and of the gallery: what is to be compared with what.
    """

    gallery: Pixels
    queries: Pixels
    pairs: npt.NDArray[np.int64]

    @classmethod
    def read(cls) -> Self:
        """The file that the command line names."""
        with np.load(sys.argv[1]) as file:
            return cls(file["gallery"], file["queries"], file["pairs"])


def tell(done: int, total: int) -> None:
    """Says how far it is."""
    _write({"done": done, "total": total})


def answer(document: dict[str, Any]) -> None:
    """Says what was measured."""
    _write({"answer": document})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def finite(value: float) -> float | None:
    """A number that JSON can hold; None where overflow left a division by zero."""
    return float(value) if np.isfinite(value) else None
