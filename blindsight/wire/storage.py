"""The messages of storage: what the keyholder and the evaluator ask it for, and what it answers.

Names only what the standard library and protobuf have: storage cannot compute.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import ClassVar

from blindsight.errors import InvalidArgument
from blindsight.packing.segments import SegmentId
from blindsight.packing.tiling import Tiling
from blindsight.parameters import Parameters, ParameterSet, by_name
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.wire.records import Parts, Record, read, write

ID_BYTES = 16
DIGEST_BYTES = 32
# Stands for a deleted item in a run of handles.
NO_HANDLE = bytes(ID_BYTES)


@dataclass(frozen=True, slots=True)
class StoredCollection(Record[pb.Collection]):
    """What the untrusted side knows of a collection.

    Attributes:
        collection_id, key_id: 16 bytes.
        name_tag: keyed hash of the name, 16 bytes.
        sealed_config: name, embedder, metric: for the keyholder only.
        parameter_set: by name.
        dimension: values of an encrypted row.
        stride: of the main region.
        created_unix_seconds: this and what follows is storage's own account.
        sequence: grows with every append and deletion.
        epoch: grows when segments are retired.
        items: live ones.
        items_added: ever, deleted ones included.
        size_bytes: of live blocks, originals, attachments, metadata and planes.
        plane_items: live items that have pixel planes; plane_bytes: of these.
        fields: values of each field of a row, together `dimension`; none: one field.
    """

    collection_id: bytes
    name_tag: bytes
    sealed_config: bytes
    parameter_set: str
    key_id: bytes
    dimension: int
    stride: int
    created_unix_seconds: int = 0
    sequence: int = 0
    epoch: int = 0
    items: int = 0
    items_added: int = 0
    size_bytes: int = 0
    plane_items: int = 0
    plane_bytes: int = 0
    fields: tuple[int, ...] = ()

    @property
    def parameters(self) -> Parameters:
        """The collection's parameter set."""
        return by_name(self.parameter_set)

    @property
    def row_fields(self) -> tuple[int, ...]:
        """Values of each field of a row, also where a row is one field."""
        return self.fields or (self.dimension,)


@dataclass(frozen=True, slots=True)
class Planes(Record[pb.Planes]):
    """Geometry of an item's encrypted pixel planes as announced; `Tiling` tells whether it can be.

    Attributes:
        width, height: of the photo, in pixels.
        channels: 1 (grey) or 3 (RGB).
        halo: pixels of its neighbours around every tile.
    """

    width: int
    height: int
    channels: int
    halo: int = 0

    def tiling(self, parameters: ParameterSet) -> Tiling:
        """How many pieces they are, and how large.

        Raises:
            InvalidArgument: when there are no such planes.
        """
        return Tiling(self.width, self.height, self.channels, parameters.ring_degree, self.halo)


@dataclass(frozen=True, slots=True)
class PieceHeader(Record[pb.PieceHeader]):
    """Announces one piece of planes, a block of seeded ciphertexts; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AppendItem(Record[pb.AppendItem]):
    """One item of an append as announced; a size of 0 means that it has no original, or no attachment.

    Attributes:
        handle: keyed hash of the item's id, 16 bytes.
        sealed_metadata: may be empty.
        planes: None for an item without.
        attachment_size_bytes: of a second sealed thing of the item, such as its keypoints.
    """

    handle: bytes
    sealed_metadata: bytes = b""
    original_size_bytes: int = 0
    original_sha256: bytes = b""
    planes: Planes | None = None
    attachment_size_bytes: int = 0
    attachment_sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class AppendItems(Record[pb.AppendItems]):
    """Some of an append's items."""

    items: tuple[AppendItem, ...]


@dataclass(frozen=True, slots=True)
class BatchHeader(Record[pb.BatchHeader]):
    """One batch of the log: rows of one block, for `count` slots of a segment from `first_slot` on."""

    sequence: int
    segment: SegmentId
    first_slot: int
    count: int
    block_size_bytes: int
    block_sha256: bytes


@dataclass(frozen=True, slots=True)
class AppendHeader(Record[pb.AppendHeader]):
    """What an append announces; without batches it only retires.

    Attributes:
        batch_id: 16 random bytes, the request id of this write.
        expected_sequence: of the collection before the append.
        batches: one for each segment that gets rows, with consecutive sequences from the expected one on.
        retires: segments that the append replaces.
    """

    elsewhere: ClassVar = frozenset(
        {"segment", "first_slot", "block_size_bytes", "block_sha256", "items_count"}
    )

    collection_id: bytes
    batch_id: bytes
    expected_sequence: int
    batches: tuple[BatchHeader, ...]
    retires: tuple[SegmentId, ...] = ()

    @classmethod
    def from_message(cls, message: pb.AppendHeader) -> AppendHeader:
        """Also of the form in which those send the one batch of an append who know no field `batches`."""
        header = read(cls, message)
        if header.batches or not message.HasField("segment"):
            return header
        only = BatchHeader(
            header.expected_sequence + 1,
            read(SegmentId, message.segment),
            message.first_slot,
            message.items_count,
            message.block_size_bytes,
            message.block_sha256,
        )
        return replace(header, batches=(only,))

    @property
    def items_count(self) -> int:
        """Items of all batches."""
        return sum(batch.count for batch in self.batches)

    @property
    def block_size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(batch.block_size_bytes for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Appended(Record[pb.AppendResponse]):
    """The answer to an append, the same however often it is repeated; `sequence` is of its last batch."""

    sequence: int
    epoch: int


@dataclass(frozen=True, slots=True)
class BatchesRequest(Record[pb.ReadBatchesRequest]):
    """Asks for batches with a sequence over `after_sequence`; of these segments only, if there are any."""

    collection_id: bytes
    after_sequence: int = 0
    only_segments: tuple[SegmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class LogHeader(Record[pb.LogHeader]):
    """Sums up a snapshot of the batch log, the first message of a stream.

    Attributes:
        sequence, epoch: what the batches lead to.
        batches: how many follow; size_bytes: of their blocks.
        retired: segments that were retired after what the reader has.
    """

    sequence: int
    epoch: int
    batches: int
    size_bytes: int = 0
    retired: tuple[SegmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class SlotRun(Record[pb.SlotRun]):
    """Consecutive slots of a segment.

    Attributes:
        handles: 16 bytes a slot, `NO_HANDLE` for a deleted item.
        batches: appends that were added up in this segment so far.
    """

    segment: SegmentId
    first_slot: int
    handles: bytes
    batches: int


@dataclass(frozen=True, slots=True)
class SlotPage(Record[pb.ReadSlotsResponse]):
    """A part of the slot map that fits into one message; all pages of a stream are of one snapshot.

    Attributes:
        next_main_index, next_tail_index: of the next new segment; indices are not used again.
    """

    sequence: int
    epoch: int
    runs: tuple[SlotRun, ...]
    next_main_index: int
    next_tail_index: int

    elsewhere: ClassVar = frozenset({"crc32"})

    @classmethod
    def from_message(cls, message: pb.ReadSlotsResponse) -> SlotPage:
        """Refuses also a part whose CRC-32 is another."""
        if message.crc32 != _slots_crc32(message):
            raise InvalidArgument(f"slots of CRC-32 {_slots_crc32(message):08x}, want {message.crc32:08x}")
        return read(cls, message)

    def to_message(self) -> pb.ReadSlotsResponse:
        """With its CRC-32."""
        message = pb.ReadSlotsResponse()
        write(message, self)
        message.crc32 = _slots_crc32(message)
        return message


def _slots_crc32(page: pb.ReadSlotsResponse) -> int:
    """CRC-32 of a part of a slot map; see `ReadSlotsResponse` in the contract of storage.

    Not a SHA-256: a slot map is read again whenever another writer wrote, of a million items 16 MB, and this
    takes a third of the time.  Against a storage that lies neither would help.
    """
    counters = page.sequence, page.epoch, page.next_main_index, page.next_tail_index
    made = zlib.crc32(struct.pack("<2Q2I", *counters))
    for run in page.runs:
        place = run.segment.region, run.segment.index, run.first_slot, run.batches
        made = zlib.crc32(run.handles, zlib.crc32(struct.pack("<4I", *place), made))
    return made


@dataclass(frozen=True, slots=True)
class StoredItem(Record[pb.Item]):
    """An item's sealed metadata, and the sizes of its original and of its planes; 0 where it has none."""

    handle: bytes
    sealed_metadata: bytes
    original_size_bytes: int
    planes_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlanesHeader(Record[pb.PlanesHeader]):
    """Announces encrypted pixel planes of `size_bytes`; their pieces follow, each announced by itself."""

    planes: Planes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OriginalHeader(Record[pb.OriginalHeader]):
    """Announces a sealed original; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AttachmentHeader(Record[pb.AttachmentHeader]):
    """Announces an item's sealed attachment; its bytes follow."""

    handle: bytes
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Deleted(Record[pb.DeleteItemsResponse]):
    """How many handles were live, and the sequence after their deletion."""

    deleted: int
    sequence: int


@dataclass(frozen=True, slots=True)
class StorageStatus(Record[pb.GetStatusResponse]):
    """What storage says of itself: counts and sizes."""

    version: str
    collections: int
    items: int
    disk_bytes: int
    memory_bytes: int
    schema_version: int


AppendPart = AppendHeader | AppendItems | PieceHeader | bytes
LogPart = LogHeader | BatchHeader | bytes
OriginalPart = OriginalHeader | bytes
AttachmentPart = AttachmentHeader | bytes
PlanesPart = PlanesHeader | PieceHeader | bytes

APPEND: Parts[pb.AppendRequest, AppendPart] = Parts(pb.AppendRequest, AppendPart)
LOG: Parts[pb.ReadBatchesResponse, LogPart] = Parts(pb.ReadBatchesResponse, LogPart)
ORIGINAL: Parts[pb.ReadOriginalResponse, OriginalPart] = Parts(pb.ReadOriginalResponse, OriginalPart)
ATTACHMENT: Parts[pb.ReadAttachmentsResponse, AttachmentPart] = Parts(
    pb.ReadAttachmentsResponse, AttachmentPart
)
PLANES: Parts[pb.ReadPlanesResponse, PlanesPart] = Parts(pb.ReadPlanesResponse, PlanesPart)
