"""The measurements as plain values; `document` makes what --json prints and results.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1

Channels = tuple[float | None, ...]
"""Squared cosines of red, green and blue; None where overflow left no finite number."""


class Family(StrEnum):
    """The kinds of encryption; rows of a family have the same colour."""

    CKKS = "ckks"
    BFV = "bfv"
    PAILLIER = "paillier"
    PLAINTEXT = "plaintext"


class Method(StrEnum):
    """The methods of comparison."""

    BLINDSIGHT = "blindsight"
    NAIVE = "naive"
    ADDITIVE = "additive"
    PLAINTEXT = "plaintext"


@dataclass(frozen=True, slots=True)
class Query:
    """A query and its right answer.

    Attributes:
        name: how it was made from a gallery photo.
        image: row of that gallery photo.
        winner: row of the gallery photo that the plaintext comparison finds.
        channels: squared cosines of the query and the winner, in plaintext.
        margin: how much farther the second best is from [1, 1, 1].
    """

    name: str
    image: int
    winner: int
    channels: Channels
    margin: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one scheme to one query.

    Attributes:
        picked: row of the gallery photo that it found; None if it could compute no distance.
        candidates: number of photos it chose from.
        right: whether the plaintext comparison picks the same.
        channels: squared cosines of the query and the right photo, under this scheme.
    """

    picked: int | None
    candidates: int
    right: bool
    channels: Channels


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of one scheme; times in seconds are those of all photos and one query.

    Attributes:
        hides: what is hidden from the machine that compares.
        keygen_seconds: None if there is no key.
        encrypt_seconds: encrypting the whole gallery, and what else `encrypt_includes` says.
        query_seconds: making and encrypting one query.
        compare_seconds: comparing one query with every photo.
        decrypt_seconds: decrypting the results of one query, and picking the best.
        bytes_per_image: bytes stored for each photo.
        max_error: largest difference of a squared cosine from plaintext; None if one is not a finite number.
        scaled: names of the fields above that were measured on a sample and scaled up.
        sample: description of that sample; empty without one.
    """

    name: str
    family: Family
    method: Method
    hides: str
    security: str
    keygen_seconds: float | None
    encrypt_seconds: float
    encrypt_includes: str
    query_seconds: float
    compare_seconds: float
    decrypt_seconds: float
    bytes_per_image: float
    max_error: float | None
    answers: tuple[Answer, ...]
    scaled: tuple[str, ...] = ()
    sample: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def search_seconds(self) -> float:
        """The time of one search from the photo to the best match."""
        return self.query_seconds + self.compare_seconds + self.decrypt_seconds

    @property
    def right(self) -> int:
        """The number of queries with the right answer."""
        return sum(answer.right for answer in self.answers)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A scheme that could not be measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Images:
    """The photos that were compared.

    Attributes:
        count: number of photos.
        originals: number of given photos; the others were made by altering them.
        skipped: number of files that were skipped, see `photos.Gallery`.
        size: side of a photo in pixels.
    """

    count: int
    originals: int
    skipped: int
    size: int = 64


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a whole comparison."""

    images: Images
    queries: tuple[Query, ...]
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    machine: dict[str, Any]

    def of(self, method: Method) -> list[Row]:
        """Returns the rows of one method."""
        return [row for row in self.rows if row.method is method]


def document(results: Results, verdict: Sequence[str]) -> dict[str, Any]:
    """Returns all results as a JSON document, with the totals of each row."""
    rows = [{**asdict(row), "search_seconds": row.search_seconds, "right": row.right} for row in results.rows]
    return {
        "benchmark": "compare-schemes",
        "version": VERSION,
        "verdict": list(verdict),
        "machine": results.machine,
        "images": asdict(results.images),
        "queries": [asdict(query) for query in results.queries],
        "schemes": rows,
        "left_out": [asdict(one) for one in results.left_out],
    }
