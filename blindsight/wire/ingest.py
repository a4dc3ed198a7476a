"""Records of ingest: what to keep of each item, and the outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.metadata import Metadata
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
    """The target of an ingest; the first message of its stream.

    Attributes:
        collection: its name.
        planes: whether each photo is kept as encrypted pixel planes too.
        plane_halo: pixels of its neighbours around every tile; limits the radius of filters on stored planes.
        metadata: of all photos or vectors; what they bring themselves goes before.
        upsert: whether an item with the id of another takes its place.
        exif: whether time, camera and place of the EXIF of photos are kept as metadata.
    """

    collection: str
    planes: bool = False
    plane_halo: int = 0
    metadata: Metadata | None = None
    upsert: bool = False
    exif: bool = False


@dataclass(frozen=True, slots=True)
class ItemResult(Record[pb.ItemResult]):
    """The outcome of one photo.

    Attributes:
        index: index of the file in the stream, from 0.
        id: id of the item; empty if it was rejected and had none.
        reason: a reason of `blindsight.errors`; empty unless rejected.
        message: human-readable, one line; empty unless rejected.
        remark: what of the photo is missing in its planes, why it has none, or that no search will find
            it, as human-readable text; usually empty.
    """

    index: int
    outcome: Annotated[Outcome, OUTCOME]
    id: str = ""
    reason: str = ""
    message: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class IngestCounts(Record[pb.IngestProgress]):
    """The numbers of items by outcome."""

    stored: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def done(self) -> int:
        """The number of items whose outcome is known."""
        return self.stored + self.duplicates + self.rejected
