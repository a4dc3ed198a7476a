"""What storage keeps and hands out, as plain immutable values: no message, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blindsight.ciphertext.header import BlockHeader, Form, additive_block_bytes
from blindsight.packing.segments import Region, SegmentId
from blindsight.packing.tiling import Tiling
from blindsight.parameters import AdditiveSet, Parameters, ParameterSet, by_name

ID_BYTES = 16
DIGEST_BYTES = 32
# Stands for a deleted item in a run of handles.
NO_HANDLE = bytes(ID_BYTES)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one region's segments, from public parameters alone (see `blindsight.packing.columns`).

    Attributes:
        columns: ciphertexts of a batch.
        capacity: items that a segment holds.
        block_bytes: size of a batch's block.
    """

    columns: int
    capacity: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """What the untrusted side knows of a collection; see the contract for every field."""

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

    def geometry(self, region: Region) -> Geometry:
        """Sizes of a region's segments."""
        parameters = self.parameters
        fields = self.fields or (self.dimension,)
        stride = self.stride
        if region is Region.TAIL:
            stride = min(1 << (max(fields) - 1).bit_length(), parameters.most_stride)
        columns = sum(-(-field // stride) for field in fields)
        return Geometry(columns, parameters.ring_degree // stride, self._block_bytes(parameters, columns))

    def _block_bytes(self, parameters: Parameters, columns: int) -> int:
        if isinstance(parameters, AdditiveSet):
            return additive_block_bytes(parameters, columns)
        return BlockHeader(parameters, self.key_id, Form.SEEDED, polynomials=2, count=columns).size_bytes


@dataclass(frozen=True, slots=True)
class Planes:
    """Geometry of an item's encrypted pixel planes as announced; `tiling` tells whether it can be."""

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
class PieceRecord:
    """Announces one piece of planes, a block of seeded ciphertexts; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AppendItem:
    """One item of an append as announced; a size of 0 means that it has no original, or no attachment."""

    handle: bytes
    sealed_metadata: bytes = b""
    original_size_bytes: int = 0
    original_sha256: bytes = b""
    planes: Planes | None = None
    attachment_size_bytes: int = 0
    attachment_sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch of the log: rows of one block, for consecutive slots of a segment."""

    sequence: int
    segment: SegmentId
    first_slot: int
    count: int
    block_size_bytes: int
    block_sha256: bytes


@dataclass(frozen=True, slots=True)
class AppendHeader:
    """What an append announces; without batches it only retires."""

    collection_id: bytes
    batch_id: bytes
    expected_sequence: int
    batches: tuple[BatchRecord, ...]
    retires: tuple[SegmentId, ...] = ()

    @property
    def items_count(self) -> int:
        """Items of all batches."""
        return sum(batch.count for batch in self.batches)

    @property
    def block_size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(batch.block_size_bytes for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Append:
    """A whole append, received and checked.

    Attributes:
        items: those of the first batch, then of the next.
        blocks: one for each batch.
        originals: b"" where an item has none.
        upload: under which the store has the pieces of all planes staged, in the items' order.
        attachments: by the position of their item.
    """

    header: AppendHeader
    items: tuple[AppendItem, ...]
    blocks: tuple[bytes, ...]
    originals: tuple[bytes, ...]
    upload: bytes = b""
    attachments: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append, the same however often it is repeated."""

    sequence: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LogRecord:
    """Sums up a snapshot of the batch log; `retired` were retired after what the reader has."""

    sequence: int
    epoch: int
    batches: int
    size_bytes: int
    retired: tuple[SegmentId, ...]


@dataclass(frozen=True, slots=True)
class SlotRun:
    """Consecutive slots: 16 bytes of handle each, `NO_HANDLE` for a deleted item."""

    segment: SegmentId
    first_slot: int
    handles: bytes
    batches: int


@dataclass(frozen=True, slots=True)
class SlotPage:
    """A part of the slot map that fits into one message."""

    sequence: int
    epoch: int
    runs: tuple[SlotRun, ...]
    next_main_index: int
    next_tail_index: int


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item's sealed metadata, and the sizes of its original and of its planes."""

    handle: bytes
    sealed_metadata: bytes
    original_size_bytes: int
    planes_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlanesRecord:
    """Announces encrypted pixel planes; their pieces follow, each announced by itself."""

    planes: Planes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OriginalRecord:
    """Announces a sealed original; its bytes follow."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AttachmentRecord:
    """Announces an item's sealed attachment; its bytes follow."""

    handle: bytes
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many handles were live, and the sequence after their deletion."""

    deleted: int
    sequence: int


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Counts and sizes of a whole store."""

    collections: int
    items: int
    disk_bytes: int
    log_bytes: int
    schema_version: int
