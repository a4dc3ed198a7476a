"""Pictures under an additive scheme: blocks of a picture on top of each other, so that no slot must move.

A picture is cut into blocks that overlap by a halo, as many as a message has slots.  A ciphertext holds the
pixels at one position of all blocks, so a filter of all of them is, at each position, a weighted sum of the
ciphertexts around it.  Planes are sent row by row: a row is a block of `AdditiveHeader` with a ciphertext for
each position, its columns [position][slot].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blindsight.additive.block import HEADER, AdditiveHeader
from blindsight.additive.powers import weighted_products
from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import MAX_SIDE, PlaneKernel
from blindsight.runtime.transfer import CHUNK_BYTES

MAX_POSITIONS = 1 << 18
MAX_ROW_BYTES = CHUNK_BYTES
IDENTITY = PlaneKernel(1, 1, 0, 0, (1,))


@dataclass(frozen=True, slots=True)
class PlaneShape:
    """Positions of a block.

    Attributes:
        height, width: of a block, halo included.
        halo: pixels of its neighbours around every block.

    Raises:
        InvalidArgument: when nothing of a block is its own, or it is too large.
    """

    height: int
    width: int
    halo: int

    def __post_init__(self) -> None:
        if not 0 <= self.halo < MAX_SIDE:
            raise InvalidArgument(f"halo of {self.halo} pixels, want 0 to {MAX_SIDE - 1}")
        if min(self.height, self.width) <= 2 * self.halo:
            raise InvalidArgument(
                f"planes of {self.width} x {self.height} positions with a halo of {self.halo}, "
                f"want over {2 * self.halo} x {2 * self.halo}"
            )
        if self.positions > MAX_POSITIONS:
            raise InvalidArgument(f"planes of {self.positions} positions, want at most {MAX_POSITIONS}")

    @property
    def inner_height(self) -> int:
        """Rows of a block that are its own."""
        return self.height - 2 * self.halo

    @property
    def inner_width(self) -> int:
        """Columns of a block that are its own."""
        return self.width - 2 * self.halo

    @property
    def positions(self) -> int:
        """Ciphertexts that go in."""
        return self.height * self.width

    @property
    def results(self) -> int:
        """Ciphertexts that come out, of one kernel."""
        return self.inner_height * self.inner_width

    def passes(self, kernel: PlaneKernel) -> tuple[PlaneKernel, PlaneKernel]:
        """A kernel as one along the rows and one after it: the first does nothing where that is no faster."""
        return min(_ways(kernel), key=lambda way: self._products(*way))

    def products(self, kernel: PlaneKernel) -> int:
        """Products modulo n^2 that a kernel takes, about."""
        return self._products(*self.passes(kernel))

    def _products(self, across: PlaneKernel, rest: PlaneKernel) -> int:
        first = (
            0 if across == IDENTITY else self.height * self.inner_width * weighted_products(across.weights)
        )
        return first + self.results * (weighted_products(rest.weights) + (1 if rest.offset else 0))


def _ways(kernel: PlaneKernel) -> list[tuple[PlaneKernel, PlaneKernel]]:
    """In one pass, and in two if the kernel is of rank 1: a column of integers times a row of integers."""
    ways = [(IDENTITY, kernel)]
    width = kernel.width
    lines = [kernel.weights[start : start + width] for start in range(0, len(kernel.weights), width)]
    first = next(filter(any, lines))
    divisor = math.gcd(*first)
    row = tuple(weight // divisor for weight in first)
    place = next(index for index, weight in enumerate(row) if weight)
    column = tuple(line[place] // row[place] for line in lines)
    if all(
        tuple(factor * weight for weight in row) == line for factor, line in zip(column, lines, strict=True)
    ):
        across = PlaneKernel(1, width, 0, kernel.anchor_column, row)
        ways.append((across, PlaneKernel(kernel.height, 1, kernel.anchor_row, 0, column, kernel.offset)))
    return ways


def growth(kernel: PlaneKernel, value_bits: int) -> int:
    """What results are at most, as a multiple of 2^value_bits."""
    return kernel.gain + -(-abs(kernel.offset) >> value_bits)


def guard_bits(kernels: Sequence[PlaneKernel], value_bits: int) -> int:
    """Room for the results of every kernel."""
    return (max(growth(kernel, value_bits) for kernel in kernels) - 1).bit_length()


def of_positions(header: AdditiveHeader, positions: int, growth: int = 1) -> AdditiveHeader:
    """The header of so many positions of planes.

    Raises:
        InvalidArgument: when a slot could overflow, with the bound.
    """
    layout = header.layout
    if growth > layout.most_growth:
        raise InvalidArgument(
            f"a kernel would overflow: magnitudes of its weights and offset come to {growth}, "
            f"want at most {layout.most_growth} ({layout.guard_bits} guard bits)"
        )
    columns = positions * layout.per_ciphertext
    return replace(header, layout=replace(layout, rows=1, columns=columns), growth=growth)


def row_bytes(header: AdditiveHeader, positions: int) -> int:
    """Bytes of a block of so many positions."""
    return HEADER.size + positions * header.number_bytes
