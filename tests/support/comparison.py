"""Results of a comparison as they could have been measured, to be judged and drawn."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from blindsight.cli.compare import photos, plaintext
from blindsight.cli.compare.photos import Gallery
from blindsight.cli.compare.plaintext import Task
from blindsight.cli.compare.results import Answer, Family, Images, LeftOut, Method, Results, Row
from support import photos as files

MACHINE = {
    "processor": "A processor",
    "cores": 2,
    "memory_bytes": 8_000_000_000,
    "system": "Linux x86_64",
    "python": "3.11.7",
    "blindsight": "0.1.0",
    "date": "2026-01-01",
    "load_average_before": 0.1,
}
NAMES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "hubble_deep_field")
SCALED = ("encrypt_seconds", "compare_seconds", "decrypt_seconds")


@cache
def gallery() -> Gallery:
    """Six photos, none altered."""
    pixels = np.stack([photos.reduce(files.photo(name)) for name in NAMES])
    return Gallery(pixels, len(NAMES), 0)


@cache
def task() -> Task:
    """The six photos and three queries."""
    found = gallery()
    return plaintext.judge(found, photos.queries(found))[0]


def row(name: str, family: Family, search_seconds: float, error: float | None, **changes: Any) -> Row:
    """A scheme that answers every query rightly in so many seconds."""
    right = tuple(Answer(query.winner, 6, True, query.channels) for query in task().queries)
    fields: dict[str, Any] = {
        "name": name,
        "family": family,
        "method": Method.BLINDSIGHT,
        "hides": "photos and query",
        "security": "128-bit",
        "keygen_seconds": 0.0072,
        "encrypt_seconds": 2.5,
        "encrypt_includes": "everything",
        "query_seconds": search_seconds / 4,
        "compare_seconds": search_seconds / 2,
        "decrypt_seconds": search_seconds / 4,
        "bytes_per_image": 118_000.0,
        "max_error": error,
        "answers": right,
    }
    return Row(**fields | changes)


def naive(name: str, family: Family, search_seconds: float, error: float | None, wrong: int = 1) -> Row:
    """A naive scheme, measured on a sample, that picks the wrong photo for the last queries."""
    picked = [Answer(query.winner, 4, True, query.channels) for query in task().queries[wrong:]]
    missed = [Answer(5, 4, False, (-0.4, 1.97, None)) for _ in range(wrong)]
    return row(
        name, family, search_seconds, error, method=Method.NAIVE, answers=(*picked, *missed), scaled=SCALED,
        sample="8 encryptions and 12 comparisons", hides="nothing: it holds the key",
    )  # fmt: skip


def plain() -> Row:
    """The row of numpy."""
    return plaintext.judge(gallery(), photos.queries(gallery()))[1]


def results(*rows: Row, images: Images | None = None, left_out: tuple[LeftOut, ...] = ()) -> Results:
    """What was measured, when these rows were."""
    return Results(images or Images(100, 6, 0), tuple(task().queries), rows, left_out, dict(MACHINE))


CKKS = row("ckks-4096", Family.CKKS, 0.06, 3e-6)
BFV = row("bfv-4096", Family.BFV, 0.13, 1.2e-4)
NAIVE_CKKS = naive("naive CKKS", Family.CKKS, 22.8, 846.0)
NAIVE_BFV = naive("naive BFV", Family.BFV, 48.0, None, wrong=2)
PAILLIER = row(
    "Paillier", Family.PAILLIER, 0.51, 0.0, method=Method.ADDITIVE, hides="photos; the query is visible"
)
