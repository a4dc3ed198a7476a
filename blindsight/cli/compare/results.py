"""What was measured, as plain values; `document` is what --json prints and results.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1

Channels = tuple[float | None, ...]
"""Squared cosines of red, green and blue; None where overflow left no number."""


class Family(StrEnum):
    """What kind of encryption; rows of one family have one colour."""

    CKKS = "ckks"
    BFV = "bfv"
    PAILLIER = "paillier"
    PLAINTEXT = "plaintext"


class Method(StrEnum):
    """Who compares, and how."""

    BLINDSIGHT = "blindsight"
    NAIVE = "naive"
    ADDITIVE = "additive"
    PLAINTEXT = "plaintext"


@dataclass(frozen=True, slots=True)
class Query:
    """A photo that is looked for.

    Attributes:
        name: what was done to a gallery photo to make it.
        image: the gallery photo that it was made of.
        winner: the gallery photo that the plaintext comparison finds.
        channels: of the query and the winner, in plaintext.
        margin: how much farther the second best is from [1, 1, 1].
    """

    name: str
    image: int
    winner: int
    channels: Channels
    margin: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What one scheme made of one query.

    Attributes:
        picked: the gallery photo that it found; None when it could compute no distance.
        candidates: how many photos it chose from.
        right: whether plaintext picks the same.
        channels: of the query and the right photo, under this scheme.
    """

    picked: int | None
    candidates: int
    right: bool
    channels: Channels


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme: times in seconds, for all photos together, of one query.

    Attributes:
        hides: from the machine that compares.
        keygen_seconds: None where there is no key.
        encrypt_seconds: of the whole gallery, and what else `encrypt_includes` says.
        query_seconds: making and encrypting one query.
        compare_seconds: one query with every photo.
        decrypt_seconds: the results of one query, and picking the best.
        bytes_per_image: as it is stored.
        max_error: largest difference of a squared cosine from plaintext; None when one was no number.
        scaled: which of the above were measured on a sample and scaled up.
        sample: what that sample was, for people; empty without one.
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
        """One query from the photo to the best match."""
        return self.query_seconds + self.compare_seconds + self.decrypt_seconds

    @property
    def right(self) -> int:
        """Queries whose winner is right."""
        return sum(answer.right for answer in self.answers)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A scheme that could not be measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Images:
    """What was compared.

    Attributes:
        originals: photos as given; `count` less these were made by altering them.
        skipped: files that were no photo.
    """

    count: int
    originals: int
    skipped: int
    size: int = 64


@dataclass(frozen=True, slots=True)
class Results:
    """A whole comparison."""

    images: Images
    queries: tuple[Query, ...]
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    machine: dict[str, Any]

    def of(self, method: Method) -> list[Row]:
        """The rows of one method."""
        return [row for row in self.rows if row.method is method]


def document(results: Results, verdict: Sequence[str]) -> dict[str, Any]:
    """All of it for JSON, with sums that readers would otherwise make themselves."""
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
