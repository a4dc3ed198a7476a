"""Linear maps of images as kernels of real numbers, and their composition into one kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """A correlation: each pixel becomes the sum of `weights` times the pixels around it, plus the offset.

    Attributes:
        weights: float64 [height, width].
        anchor: row and column of the weight of the pixel itself.
        offset: in grey levels.
    """

    weights: Weights
    anchor: tuple[int, int]
    offset: float = 0.0

    @classmethod
    def centred(cls, weights: npt.ArrayLike, offset: float = 0.0) -> Self:
        """Returns a map whose anchor is in the middle."""
        matrix = np.array(weights, np.float64, ndmin=2)
        return cls(matrix, ((matrix.shape[0] - 1) // 2, (matrix.shape[1] - 1) // 2), offset)

    @property
    def reach(self) -> int:
        """The largest distance, in pixels, down or across, to a pixel that contributes."""
        height, width = self.weights.shape
        row, column = self.anchor
        return int(max(row, column, height - 1 - row, width - 1 - column))

    @property
    def keeps_brightness(self) -> bool:
        """Whether the weights do not sum to 0; otherwise the result is a map of differences."""
        return abs(float(self.weights.sum())) > 1e-9 * max(1.0, float(np.abs(self.weights).sum()))

    def then(self, later: LinearMap) -> LinearMap:
        """Composes this map with a later one: the full convolution of both kernels."""
        height, width = self.weights.shape
        rows, columns = later.weights.shape
        weights = np.zeros((height + rows - 1, width + columns - 1))
        for row, column in zip(*np.nonzero(later.weights), strict=True):
            weights[row : row + height, column : column + width] += later.weights[row, column] * self.weights
        anchor = self.anchor[0] + later.anchor[0], self.anchor[1] + later.anchor[1]
        return LinearMap(weights, anchor, float(later.weights.sum()) * self.offset + later.offset)
