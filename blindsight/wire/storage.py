"""Records of storage's messages: requests of the keyholder and the evaluator, and answers.

This module imports nothing for numerical work, so that storage can use it: storage never computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.packing.segments import SegmentId
from blindsight.packing.tiling import Tiling
from blindsight.parameters import Parameters, ParameterSet, by_name
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.wire.records import Parts, Record

ID_BYTES = 16
DIGEST_BYTES = 32
# The handle of a deleted item in a run of handles.
NO_HANDLE = bytes(ID_BYTES)
VERSION_BYTES = 8
# The version of an item without sealed things in a run of versions.
NO_VERSION = bytes(VERSION_BYTES)
# The chain of a collection that was never written to.
NO_CHAIN = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class StoredCollection(Record[pb.Collection]):
    """A collection as the untrusted zone knows it.

    Attributes:
        collection_id, key_id: 16 bytes.
        name_tag: keyed hash of the name, 16 bytes.
        sealed_config: name, embedder and metric, encrypted for the keyholder.
        parameter_set: its name.
        dimension: number of values of an encrypted row.
        stride: stride of the main region.
        created_unix_seconds: set by storage, as are the attributes below up to `plane_bytes`.
        sequence: grows with every write.
        epoch: grows when segments are retired.
        items: number of live items.
        items_added: number of items ever added, deleted ones included.
        size_bytes: bytes of live blocks, originals, attachments, metadata and planes.
        plane_items: number of live items with pixel planes.
        plane_bytes: bytes of these planes.
        fields: number of values of each field of a row, in total `dimension`; empty: one field.
        chain: of the newest link of the log; set by storage.
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
    chain: bytes = NO_CHAIN

    @property
    def parameters(self) -> Parameters:
        """The collection's parameter set."""
        return by_name(self.parameter_set)

    @property
    def row_fields(self) -> tuple[int, ...]:
        """The number of values of each field of a row, also if a row is one field."""
        return self.fields or (self.dimension,)


@dataclass(frozen=True, slots=True)
class Planes(Record[pb.Planes]):
    """The announced geometry of an item's encrypted pixel planes; `Tiling` validates it.

    Attributes:
        width, height: size of the photo in pixels.
        channels: 1 (grey) or 3 (RGB).
        halo: pixels of its neighbours around every tile.
    """

    width: int
    height: int
    channels: int
    halo: int = 0

    def tiling(self, parameters: ParameterSet) -> Tiling:
        """Returns the tiling, which gives the number of pieces and their sizes.

        Raises:
            InvalidArgument: if planes cannot have this geometry.
        """
        return Tiling(self.width, self.height, self.channels, parameters.ring_degree, self.halo)


@dataclass(frozen=True, slots=True)
class PieceHeader(Record[pb.PieceHeader]):
    """The header of one piece of planes, a block of seeded ciphertexts; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AppendItem(Record[pb.AppendItem]):
    """One item of an append as announced; a size of 0 means that it has no original, or no attachment.

    Attributes:
        handle: keyed hash of the item's id, 16 bytes.
        sealed_metadata: may be empty.
        planes: None for an item without planes.
        attachment_size_bytes: size of further sealed data of the item, such as its keypoints.
        version: 8 random bytes, to which its sealed data are bound; empty if it has none.
    """

    handle: bytes
    sealed_metadata: bytes = b""
    original_size_bytes: int = 0
    original_sha256: bytes = b""
    planes: Planes | None = None
    attachment_size_bytes: int = 0
    attachment_sha256: bytes = b""
    version: bytes = b""


@dataclass(frozen=True, slots=True)
class AppendItems(Record[pb.AppendItems]):
    """A part of an append's items.

    Attributes:
        handles: 16 bytes each, of items that are nothing else; they come after those in `items`.
    """

    items: tuple[AppendItem, ...] = ()
    handles: bytes = b""


@dataclass(frozen=True, slots=True)
class BatchHeader(Record[pb.BatchHeader]):
    """The header of one batch of the log: the rows of a block for `count` slots from `first_slot` on."""

    sequence: int
    segment: SegmentId
    first_slot: int
    count: int
    block_size_bytes: int
    block_sha256: bytes


@dataclass(frozen=True, slots=True)
class Link(Record[pb.Link]):
    """One write to a collection's log, as its owner authenticates it; opaque to storage.

    Attributes:
        sequence, epoch: those after the write.
        previous: chain before the write, 32 bytes.
        root: SHA-256 of the collection's state after the write.
        chain: HMAC of the rest, 32 bytes.
    """

    sequence: int
    epoch: int
    previous: bytes
    root: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class AppendHeader(Record[pb.AppendHeader]):
    """The header of an append; without batches it only retires segments.

    Attributes:
        batch_id: 16 random bytes, the idempotency key of this write.
        expected_sequence: sequence of the collection before the append.
        batches: one for each segment that gets rows, with consecutive sequences after the expected one.
        link: of this write.
        retires: segments that the append replaces.
        fencing_token: of the keyholder for which it is made, as in all writes; 0 before the first lease.
        replaces: handles of live items that are deleted in the same write, 16 bytes each: items of the append
            take their places.
    """

    collection_id: bytes
    batch_id: bytes
    expected_sequence: int
    batches: tuple[BatchHeader, ...]
    link: Link
    retires: tuple[SegmentId, ...] = ()
    fencing_token: int = 0
    replaces: bytes = b""

    @property
    def items_count(self) -> int:
        """The number of items of all batches."""
        return sum(batch.count for batch in self.batches)

    @property
    def block_size_bytes(self) -> int:
        """The size of all blocks."""
        return sum(batch.block_size_bytes for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Appended(Record[pb.AppendResponse]):
    """The answer to an append, the same each time it is repeated; `sequence` is that of its last batch."""

    sequence: int
    epoch: int


@dataclass(frozen=True, slots=True)
class BatchesRequest(Record[pb.ReadBatchesRequest]):
    """A request for batches after `after_sequence`, only of `only_segments` if there are any."""

    collection_id: bytes
    after_sequence: int = 0
    only_segments: tuple[SegmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class LogHeader(Record[pb.LogHeader]):
    """The summary of a snapshot of the batch log, the first message of a stream.

    Attributes:
        sequence, epoch: those of the collection once the batches are applied.
        batches: number of batches that follow.
        size_bytes: bytes of their blocks.
        retired: segments that were retired after the reader's sequence.
        chain: at `sequence`.
        after_chain: at the reader's sequence; empty if no write ended there.
    """

    sequence: int
    epoch: int
    batches: int
    size_bytes: int = 0
    retired: tuple[SegmentId, ...] = ()
    chain: bytes = NO_CHAIN
    after_chain: bytes = NO_CHAIN


@dataclass(frozen=True, slots=True)
class SlotBatch(Record[pb.SlotBatch]):
    """A batch of a segment: the number of its slots, and the SHA-256 of its block."""

    count: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SlotRun(Record[pb.SlotRun]):
    """Consecutive slots of a segment.

    Attributes:
        handles: 16 bytes per slot, `NO_HANDLE` for a deleted item.
        batches: those that were added up in this segment so far, in order.
        versions: 8 bytes per slot, `NO_VERSION` without one; empty if no item has one.
    """

    segment: SegmentId
    first_slot: int
    handles: bytes
    batches: tuple[SlotBatch, ...]
    versions: bytes = b""


@dataclass(frozen=True, slots=True)
class SlotPage(Record[pb.ReadSlotsResponse]):
    """A page of the slot map that fits into one message; all pages of a stream are of one snapshot.

    Attributes:
        next_main_index, next_tail_index: index of the next new segment; indices are never reused.
        items_added: number of items ever added, deleted ones included.
        links: those after the reader's sequence, in order, and in any case the newest.
    """

    sequence: int
    epoch: int
    next_main_index: int
    next_tail_index: int
    items_added: int
    runs: tuple[SlotRun, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredItem(Record[pb.Item]):
    """An item's sealed metadata, and the sizes of its original and of its planes; 0 if it has none."""

    handle: bytes
    sealed_metadata: bytes
    original_size_bytes: int
    planes_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlanesHeader(Record[pb.PlanesHeader]):
    """The header of encrypted pixel planes; their pieces follow, each with its own header."""

    planes: Planes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OriginalHeader(Record[pb.OriginalHeader]):
    """The header of a sealed original; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AttachmentHeader(Record[pb.AttachmentHeader]):
    """The header of an item's sealed attachment; its bytes follow."""

    handle: bytes
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Deletion(Record[pb.DeleteItemsRequest]):
    """A deletion of live items, and its link."""

    collection_id: bytes
    handles: tuple[bytes, ...]
    link: Link
    fencing_token: int = 0


@dataclass(frozen=True, slots=True)
class ItemUpdate(Record[pb.ItemUpdate]):
    """The sealed metadata and the version that a live item has from now on."""

    handle: bytes
    sealed_metadata: bytes
    version: bytes


@dataclass(frozen=True, slots=True)
class Update(Record[pb.UpdateItemsRequest]):
    """A change of live items' metadata, and its link."""

    collection_id: bytes
    items: tuple[ItemUpdate, ...]
    link: Link
    fencing_token: int = 0


@dataclass(frozen=True, slots=True)
class Updated(Record[pb.UpdateItemsResponse]):
    """The sequence after a change of metadata."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Settings(Record[pb.ReplaceConfigRequest]):
    """The name tag and sealed settings that a collection has from now on, and the link of this write."""

    collection_id: bytes
    name_tag: bytes
    sealed_config: bytes
    link: Link
    fencing_token: int = 0


@dataclass(frozen=True, slots=True)
class Truncation(Record[pb.TruncateCollectionRequest]):
    """A removal of all items of a collection, and its link."""

    collection_id: bytes
    link: Link
    fencing_token: int = 0


@dataclass(frozen=True, slots=True)
class SlotsRequest(Record[pb.ReadSlotsRequest]):
    """A request for the slot map, and for the links after a sequence."""

    collection_id: bytes
    after_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Deleted(Record[pb.DeleteItemsResponse]):
    """The number of handles that were live, and the sequence after their deletion."""

    deleted: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Lease(Record[pb.TakeLeaseResponse]):
    """An answer to a keyholder that takes the lease of its key set.

    Attributes:
        fencing_token: grows with each lease; 0: another holder has it.
        lease_milliseconds: how long it lasts unless it is renewed.
    """

    fencing_token: int
    lease_milliseconds: int


@dataclass(frozen=True, slots=True)
class StorageStatus(Record[pb.GetStatusResponse]):
    """The status of storage: counts and sizes."""

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
