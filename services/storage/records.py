"""Immutable records of received appends and of sizes, independent of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blindsight.ciphertext.header import BlockHeader, Form, additive_block_bytes
from blindsight.packing.segments import Region
from blindsight.parameters import AdditiveSet, Parameters
from blindsight.wire.storage import AppendHeader, AppendItem, StoredCollection


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one region's segments, from public parameters alone (see `blindsight.packing.columns`).

    Attributes:
        columns: number of ciphertexts of a batch.
        capacity: number of items that a segment holds.
        block_bytes: size of a batch's block.
    """

    columns: int
    capacity: int
    block_bytes: int

    @classmethod
    def of(cls, collection: StoredCollection, region: Region) -> Geometry:
        """Returns the sizes of the segments in a region of a collection."""
        parameters, stride = collection.parameters, collection.stride
        if region is Region.TAIL:
            stride = min(1 << (max(collection.row_fields) - 1).bit_length(), parameters.most_stride)
        columns = sum(-(-field // stride) for field in collection.row_fields)
        size = _block_bytes(parameters, collection.key_id, columns)
        return cls(columns, parameters.ring_degree // stride, size)


def _block_bytes(parameters: Parameters, key_id: bytes, columns: int) -> int:
    if isinstance(parameters, AdditiveSet):
        return additive_block_bytes(parameters, columns)
    return BlockHeader(parameters, key_id, Form.BATCH, columns).size_bytes


@dataclass(frozen=True, slots=True)
class Append:
    """A whole append, received and checked.

    Attributes:
        items: the items of all batches, in the order of the batches.
        blocks: one for each batch.
        originals: one for each item, b"" if it has none.
        upload: the id under which the store has staged the pieces of all planes, in the items' order.
        attachments: by the position of their item.
    """

    header: AppendHeader
    items: tuple[AppendItem, ...]
    blocks: tuple[bytes, ...]
    originals: tuple[bytes, ...]
    upload: bytes = b""
    attachments: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """The size of all that is large in it, but for planes, which are stored already."""
        return sum(map(len, (*self.blocks, *self.originals, *self.attachments.values())))


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Counts and sizes of a whole store."""

    collections: int
    items: int
    disk_bytes: int
    log_bytes: int
    schema_version: int
