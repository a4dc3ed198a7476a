"""Columns in tiles: the order in which polynomials that are multiplied column by column stand everywhere.

The columns of a segment, or of a query, in NTT form, are

    uint32 [primes * tiles, columns, TILE]

so that all factors of a few points of a score are neighbours: a tile holds TILE points of each column.
Batches on the wire and in storage, the evaluator's cache and all compiled code use this order; nothing is
rearranged on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blindsight.ciphertext.header import (
    HEADER,
    BlockHeader,
    Form,
    check_expected,
    check_form,
    check_size,
    parse_header,
)
from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import ParameterSet

# Points of a tile: their 64-bit sums fill 4 of 32 vector registers.
TILE = 32
RESIDUE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of columns in tiles.

    Attributes:
        parameters: the parameter set.
        columns: number of columns.
    """

    parameters: ParameterSet
    columns: int

    @property
    def rows(self) -> int:
        """Number of tiles of all primes."""
        return len(self.parameters.primes) * self.parameters.ring_degree // TILE

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the array."""
        return self.rows, self.columns, TILE

    @property
    def size_bytes(self) -> int:
        """Size of the array."""
        return self.rows * self.columns * TILE * RESIDUE_BYTES


def to_tiles(polynomials: Residues) -> Residues:
    """Rearranges polynomials uint32 [columns, primes, N] into tiles."""
    columns, primes, degree = polynomials.shape
    by_tile = polynomials.reshape(columns, primes * degree // TILE, TILE)
    return by_tile.transpose(1, 0, 2).copy()


def from_tiles(tiles: Residues, parameters: ParameterSet) -> Residues:
    """Inverts `to_tiles`: uint32 [columns, primes, N]."""
    columns = tiles.shape[1]
    flat = tiles.transpose(1, 0, 2).copy()
    return flat.reshape(columns, len(parameters.primes), parameters.ring_degree)


def view_tiles(
    data: bytes | memoryview, parameters: ParameterSet, key_id: bytes, form: Form, columns: int
) -> Residues:
    """Returns the tiles of a block without a copy: uint32 [groups, primes * tiles, columns, TILE].

    The residues are not checked; see `columns.require_below_primes`.

    Args:
        data: a block of columns, group after group.
        columns: the columns of each group.

    Raises:
        InvalidCiphertext: if it is not such a block of this parameter set and key.
    """
    header = parse_header(data)
    check_expected(header, parameters, key_id)
    check_form(header, form)
    check_size(header, len(data))
    if header.count % columns:
        raise InvalidCiphertext(f"{header.count} columns, want a multiple of {columns}")
    words = np.frombuffer(data, "<u4", offset=HEADER.size, count=header.residue_bytes // RESIDUE_BYTES)
    return words.reshape(-1, *Geometry(parameters, columns).shape)


def block_parts(
    parameters: ParameterSet, key_id: bytes, tiles: Sequence[Residues]
) -> list[bytes | memoryview]:
    """Returns the pieces of a block of columns: its header, and tiles without a copy, part after part."""
    header = BlockHeader(parameters, key_id, Form.COLUMNS, sum(part.shape[1] for part in tiles))
    return [header.pack(), *(np.ascontiguousarray(part, "<u4").data.cast("B") for part in tiles)]


def column_block(parameters: ParameterSet, key_id: bytes, tiles: Sequence[Residues]) -> bytes:
    """Returns a block of columns from tiles, part after part."""
    return b"".join(block_parts(parameters, key_id, tiles))
