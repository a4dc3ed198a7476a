"""What storage makes of the messages that it takes, as plain immutable values: no SQL."""

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
        columns: ciphertexts of a batch.
        capacity: items that a segment holds.
        block_bytes: size of a batch's block.
    """

    columns: int
    capacity: int
    block_bytes: int

    @classmethod
    def of(cls, collection: StoredCollection, region: Region) -> Geometry:
        """Sizes of the segments of a collection's region."""
        parameters, stride = collection.parameters, collection.stride
        if region is Region.TAIL:
            stride = min(1 << (max(collection.row_fields) - 1).bit_length(), parameters.most_stride)
        columns = sum(-(-field // stride) for field in collection.row_fields)
        size = _block_bytes(parameters, collection.key_id, columns)
        return cls(columns, parameters.ring_degree // stride, size)


def _block_bytes(parameters: Parameters, key_id: bytes, columns: int) -> int:
    if isinstance(parameters, AdditiveSet):
        return additive_block_bytes(parameters, columns)
    return BlockHeader(parameters, key_id, Form.SEEDED, polynomials=2, count=columns).size_bytes


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
class StoreStatus:
    """Counts and sizes of a whole store."""

    collections: int
    items: int
    disk_bytes: int
    log_bytes: int
    schema_version: int
