"""Public records of collections, and the shapes that follow from them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from blindsight.ciphertext.header import BlockHeader, Form, additive_block_bytes
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Region
from blindsight.parameters import AdditiveSet, ParameterSet
from blindsight.ring.tiles import RESIDUE_BYTES, Geometry


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """The public, immutable properties of a collection.

    Attributes:
        collection_id: 16 random bytes.
        parameters: the parameter set.
        key_id: id of the owner's key set.
        layout: how vectors are packed into columns.
    """

    collection_id: bytes
    parameters: ParameterSet
    key_id: bytes
    layout: CollectionLayout

    def within(self, regions: Collection[Region]) -> CollectionRecord:
        """Returns the record for queries that have columns for these regions only."""
        return replace(self, layout=self.layout.within(regions))

    def geometry(self, region: Region) -> Geometry:
        """Returns the geometry of the blocks of one region."""
        return Geometry(self.parameters, self.layout.of(region).columns)

    def answer_bytes(self, region: Region) -> int:
        """Returns the size of one segment's answer to one query: a folded product for each field."""
        layout = self.layout.of(region)
        return len(layout.fields) * len(self.parameters.primes) * layout.answer_size * RESIDUE_BYTES

    def batch_bytes(self, region: Region) -> int:
        """Returns the size of the block of one batch."""
        columns = self.layout.of(region).columns
        return BlockHeader(self.parameters, self.key_id, Form.BATCH, columns).size_bytes


@dataclass(frozen=True, slots=True)
class AdditiveRecord:
    """The public, immutable properties of a collection of an additive scheme, which is never cached.

    Attributes:
        collection_id, parameters, key_id, layout: see `CollectionRecord`.
    """

    collection_id: bytes
    parameters: AdditiveSet
    key_id: bytes
    layout: CollectionLayout

    def batch_bytes(self, region: Region) -> int:
        """Returns the size of the block of one batch."""
        return additive_block_bytes(self.parameters, self.layout.of(region).columns)


AnyRecord = CollectionRecord | AdditiveRecord
