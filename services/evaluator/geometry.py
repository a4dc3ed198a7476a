"""The order in memory that the kernel reads: tiles, in which the columns of a few coefficients meet.

A block holds the columns of one segment, or of one query, as

    uint32 [primes * tiles, columns, 2, TILE]

so that everything which one score coefficient is made of stands together: a tile's columns, each
with TILE residues of the first polynomial and TILE of the second.  Files of the cache, shared memory
and the kernel all use it.
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
    """Shape of the blocks of one region.

    Attributes:
        parameters: the parameter set.
        columns: ciphertexts of a segment.
    """

    parameters: ParameterSet
    columns: int

    @property
    def rows(self) -> int:
        """Tiles of all primes."""
        return len(self.parameters.primes) * self.parameters.ring_degree // TILE

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a block."""
        return self.rows, self.columns, 2, TILE

    @property
    def size_bytes(self) -> int:
        """Bytes of a block."""
        return self.rows * self.columns * 2 * TILE * 4

    @property
    def score_words(self) -> int:
        """Residues of one score: [3, primes, N]."""
        return SCORE_POLYNOMIALS * len(self.parameters.primes) * self.parameters.ring_degree


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """What is public of a collection and does not change.

    Attributes:
        collection_id: 16 random bytes.
        parameters: the parameter set.
        key_id: names the owner's key set.
        layout: how its vectors lie in columns.
    """

    collection_id: bytes
    parameters: ParameterSet
    key_id: bytes
    layout: CollectionLayout

    def within(self, regions: Collection[Region]) -> CollectionRecord:
        """The same for queries that are for these regions alone."""
        return replace(self, layout=self.layout.within(regions))

    def geometry(self, region: Region) -> Geometry:
        """The blocks of one region."""
        return Geometry(self.parameters, self.layout.of(region).columns)

    def batch_bytes(self, region: Region) -> int:
        """Bytes of the block of one batch."""
        columns = self.layout.of(region).columns
        return BlockHeader(self.parameters, self.key_id, Form.SEEDED, 2, columns).size_bytes


@dataclass(frozen=True, slots=True)
class AdditiveRecord:
    """What is public of a collection of an additive scheme, of which nothing is cached.

    Attributes:
        collection_id, parameters, key_id, layout: as of a `CollectionRecord`.
    """

    collection_id: bytes
    parameters: AdditiveSet
    key_id: bytes
    layout: CollectionLayout

    def batch_bytes(self, region: Region) -> int:
        """Bytes of the block of one batch."""
        return additive_block_bytes(self.parameters, self.layout.of(region).columns)


AnyRecord = CollectionRecord | AdditiveRecord
