"""Ingest: what is to be kept of items, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.names import Names
from blindsight.wire.records import Record

Outcome = Literal["stored", "duplicate", "rejected"]

# In the order of the counts.
OUTCOMES: dict[Outcome, int] = {
    "stored": pb.OUTCOME_STORED,
    "duplicate": pb.OUTCOME_DUPLICATE,
    "rejected": pb.OUTCOME_REJECTED,
}
OUTCOME = Names("outcome", OUTCOMES)


@dataclass(frozen=True, slots=True)
class IngestHeader(Record[pb.IngestHeader]):
    """Where items go.

    Attributes:
        collection: its name.
        planes: whether each photo is kept as encrypted pixel planes too.
        plane_halo: pixels of its neighbours around every tile: how far a filter may reach on stored planes.
    """

    collection: str
    planes: bool = False
    plane_halo: int = 0


@dataclass(frozen=True, slots=True)
class ItemResult(Record[pb.ItemResult]):
    """What became of a photo.

    Attributes:
        index: of the file in the stream, from 0.
        id: of the item, empty when it was rejected and had none.
        reason: one of `blindsight.errors`, empty unless rejected.
        message: one line for people, empty unless rejected.
        remark: what of the photo its planes do not hold, or a search will not find, for people; mostly empty.
    """

    index: int
    outcome: Annotated[Outcome, OUTCOME]
    id: str = ""
    reason: str = ""
    message: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class IngestCounts(Record[pb.IngestProgress]):
    """Items whose outcome is known."""

    stored: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def done(self) -> int:
        """All of them."""
        return self.stored + self.duplicates + self.rejected
