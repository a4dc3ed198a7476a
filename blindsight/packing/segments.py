"""Names of a collection's segments; needs only the standard library, because storage has no other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from blindsight.errors import DataLoss


class Region(IntEnum):
    """The two kinds of segment in a collection.

    MAIN segments have the collection's stride and take batches that fill at least half of their free
    slots.  TAIL segments have the widest stride, so that a single vector is one ciphertext; a repack
    moves them into MAIN ones.
    """

    MAIN = 1
    TAIL = 2

    @classmethod
    def of(cls, number: int) -> Region:
        """Returns the region that a file names by its number.

        Raises:
            DataLoss: if there is none.
        """
        try:
            return cls(number)
        except ValueError:
            raise DataLoss(f"a segment of region {number}, want 1 or 2") from None


class SegmentId(NamedTuple):
    """The name of a segment within its collection; an index is never reused.

    A tuple, whose hash is fast: searches look up hundreds.
    """

    region: Region
    index: int  # type: ignore[assignment]  # instead of tuple's method of that name

    def __str__(self) -> str:
        return f"{self.region.name} {self.index}"


@dataclass(frozen=True, slots=True)
class Placement:
    """The slots of a batch: `count` of one segment, from `first_slot` on."""

    region: Region
    index: int
    first_slot: int
    count: int

    @property
    def segment(self) -> SegmentId:
        """The segment."""
        return SegmentId(self.region, self.index)
