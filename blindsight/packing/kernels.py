"""Integer kernels for encrypted pixel planes, the form that linear filters have in both zones.

Kernels are in the clear: the evaluator multiplies ciphertexts by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from blindsight.errors import InvalidArgument

# As wide as a tile.  This is only a first check: a filter with that reach leaves nothing of a tile.
MAX_SIDE = 64
MAX_KERNELS = 32
# The widest message of any scheme, as a bound on the weights' magnitudes in sum and on an offset.
MAX_WEIGHT = 1 << 62


@dataclass(frozen=True, slots=True)
class PlaneKernel:
    """A correlation: each pixel becomes the sum of `weights` times the pixels around it, plus the offset.

    Weight (i, j) belongs to the pixel i - anchor_row below and j - anchor_column to the right, as in OpenCV's
    filter2D; a convolution would be mirrored.

    Attributes:
        height, width: 1 to 64.
        anchor_row, anchor_column: position of the weight of the pixel itself.
        weights: row by row; not all 0, because the result would not be a valid ciphertext.
        offset: added to every pixel.

    Raises:
        InvalidArgument: if a field is out of range, or all weights are 0.
    """

    height: int
    width: int
    anchor_row: int
    anchor_column: int
    weights: tuple[int, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise InvalidArgument(
                f"kernel of {self.height} x {self.width}, want 1 x 1 to {MAX_SIDE} x {MAX_SIDE}"
            )
        if len(self.weights) != self.height * self.width:
            raise InvalidArgument(
                f"kernel of {self.height} x {self.width} with {len(self.weights)} weights, want "
                f"{self.height * self.width}"
            )
        if not (0 <= self.anchor_row < self.height and 0 <= self.anchor_column < self.width):
            raise InvalidArgument(
                f"anchor at {self.anchor_row}, {self.anchor_column}, want it in a kernel of "
                f"{self.height} x {self.width}"
            )
        if not any(self.weights):
            raise InvalidArgument("kernel of zeros, want at least one non-zero weight")
        if self.gain > MAX_WEIGHT or abs(self.offset) > MAX_WEIGHT:
            raise InvalidArgument(f"kernel whose weights or offset pass {MAX_WEIGHT}, want less")

    @property
    def reach(self) -> int:
        """The largest distance, in pixels, down or across, to a pixel that contributes."""
        below, right = self.height - 1 - self.anchor_row, self.width - 1 - self.anchor_column
        return max(self.anchor_row, self.anchor_column, below, right)

    @property
    def gain(self) -> int:
        """The sum of the weights' magnitudes, the factor by which the largest pixel can grow."""
        return sum(map(abs, self.weights))

    @property
    def norm(self) -> float:
        """The root of the sum of squared weights, the factor by which independent noise grows."""
        return math.sqrt(sum(weight * weight for weight in self.weights))

    def exponents(self, tile_width: int) -> list[int]:
        """Returns for each weight the power of X that moves its pixel to the result's; may be negative.

        Args:
            tile_width: columns of a tile, whose pixel (r, c) is the coefficient of X^(r tile_width + c).
        """
        return [
            (self.anchor_row - row) * tile_width + self.anchor_column - column
            for row in range(self.height)
            for column in range(self.width)
        ]


def diffused(weights: Iterable[float], scale: int) -> tuple[int, ...]:
    """Returns weights times the scale as integers; each rounding error is carried to the next weight."""
    # Rounded independently, hundreds of weights would have another sum, and change the grey of flat regions.
    rounded, carry = [], 0.0
    for weight in weights:
        value = weight * scale
        # Zeros stay zeros: kernels are often wider than their nonzero weights.
        whole = round(value + carry) if value else 0
        carry += value - whole
        rounded.append(whole)
    return tuple(rounded)
