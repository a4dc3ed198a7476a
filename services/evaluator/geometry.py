"""The memory layout that the kernel reads: tiles, each with all columns of a few coefficients.

A block holds the columns of one segment, or of one query, as

    uint32 [primes * tiles, columns, 2, TILE]

so that all inputs of one score coefficient are contiguous: a tile's columns, each with TILE residues of the
first polynomial and TILE of the second.  Files of the cache, shared memory and the kernel all use it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from blindsight.ciphertext.header import BlockHeader, Form, additive_block_bytes
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Region
from blindsight.parameters import AdditiveSet, ParameterSet

# Coefficients of a tile: three 64-bit accumulators of 32 lanes fill 12 of 32 vector registers.
TILE = 32
# A score is a product of two ciphertexts that is not relinearised.
SCORE_POLYNOMIALS = 3


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of the blocks of one region.

    Attributes:
        parameters: the parameter set.
        columns: number of ciphertexts of a segment.
    """

    parameters: ParameterSet
    columns: int

    @property
    def rows(self) -> int:
        """Number of tiles of all primes."""
        return len(self.parameters.primes) * self.parameters.ring_degree // TILE

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of a block."""
        return self.rows, self.columns, 2, TILE

    @property
    def size_bytes(self) -> int:
        """Size of a block."""
        return self.rows * self.columns * 2 * TILE * 4

    @property
    def score_words(self) -> int:
        """Number of residues of one score, [3, primes, N]."""
        return SCORE_POLYNOMIALS * len(self.parameters.primes) * self.parameters.ring_degree


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

    def batch_bytes(self, region: Region) -> int:
        """Returns the size of the block of one batch."""
        columns = self.layout.of(region).columns
        return BlockHeader(self.parameters, self.key_id, Form.SEEDED, 2, columns).size_bytes


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
