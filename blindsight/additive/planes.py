"""Images under an additive scheme: every slot has its block of the image, so filters move no slots.

An image is cut into blocks that overlap by a halo, as many as a message has slots.  A ciphertext holds the
pixels at one position of all blocks, so a filter of all of them is, at each position, a weighted sum of the
ciphertexts around it.  Planes are sent row by row: a row is a block with an `AdditiveHeader` and a ciphertext
for each position, its columns [position][slot].
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
    """The positions of a block.

    Attributes:
        height, width: size of a block with its halo.
        halo: width in pixels of the margin of neighbouring pixels around every block.

    Raises:
        InvalidArgument: if nothing of a block is left without its halo, or it is too large.
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
        """The number of rows of a block without its halo."""
        return self.height - 2 * self.halo

    @property
    def inner_width(self) -> int:
        """The number of columns of a block without its halo."""
        return self.width - 2 * self.halo

    @property
    def positions(self) -> int:
        """The number of input ciphertexts."""
        return self.height * self.width

    @property
    def results(self) -> int:
        """The number of output ciphertexts of one kernel."""
        return self.inner_height * self.inner_width

    def passes(self, kernel: PlaneKernel) -> tuple[PlaneKernel, PlaneKernel]:
        """Splits a kernel into one along rows and one after it, or the identity and itself if no slower."""
        return min(_ways(kernel), key=lambda way: self._products(*way))

    def products(self, kernel: PlaneKernel) -> int:
        """Returns approximately how many products modulo n^2 a kernel takes."""
        return self._products(*self.passes(kernel))

    def _products(self, across: PlaneKernel, rest: PlaneKernel) -> int:
        first = (
            0 if across == IDENTITY else self.height * self.inner_width * weighted_products(across.weights)
        )
        return first + self.results * (weighted_products(rest.weights) + (1 if rest.offset else 0))


def _ways(kernel: PlaneKernel) -> list[tuple[PlaneKernel, PlaneKernel]]:
    """Returns a kernel as one pass, and as two if it has rank 1: a column times a row of integers."""
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
    """Returns the bound on results, as a multiple of 2^value_bits."""
    return kernel.gain + -(-abs(kernel.offset) >> value_bits)


def guard_bits(kernels: Sequence[PlaneKernel], value_bits: int) -> int:
    """Returns the guard bits that hold the results of every kernel."""
    return (max(growth(kernel, value_bits) for kernel in kernels) - 1).bit_length()


def of_positions(header: AdditiveHeader, positions: int, growth: int = 1) -> AdditiveHeader:
    """Returns the header of a block of `positions` positions of planes.

    Raises:
        InvalidArgument: if a slot could overflow; the message names the bound.
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
    """Returns the bytes of a block of `positions` positions."""
    return HEADER.size + positions * header.number_bytes
