"""Planes cut into blocks of one size; a ciphertext of an additive scheme packs one pixel of every block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument

# Cost of a decryption in encryptions, by which the sizes of blocks are chosen.
_DECRYPTION = 9


@dataclass(frozen=True, slots=True)
class Blocks:
    """A division of planes into blocks.

    Attributes:
        planes, height, width: shape of the image.
        halo: width in pixels of the margin of neighbouring pixels around every block.
        rows, columns: number of blocks in each plane, down and across.
    """

    planes: int
    height: int
    width: int
    halo: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """The number of blocks of all planes."""
        return self.planes * self.rows * self.columns

    @property
    def inner_height(self) -> int:
        """The number of rows of a block without its halo."""
        return -(-self.height // self.rows)

    @property
    def inner_width(self) -> int:
        """The number of columns of a block without its halo."""
        return -(-self.width // self.columns)

    @property
    def outer(self) -> tuple[int, int]:
        """The numbers of rows and columns of a block with its halo."""
        return self.inner_height + 2 * self.halo, self.inner_width + 2 * self.halo

    def cost(self, results: int) -> int:
        """Returns the cost, in encryptions, of encrypting and of decrypting this many results."""
        height, width = self.outer
        return height * width + _DECRYPTION * results * self.inner_height * self.inner_width

    def cut(self, padded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cuts padded planes, [planes, height + 2 halo, width + 2 halo], into blocks.

        Returns:
            [rows of a block, columns of a block, blocks], halo included.
        """
        below = self.rows * self.inner_height - self.height
        right = self.columns * self.inner_width - self.width
        whole = np.pad(padded, ((0, 0), (0, below), (0, right)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(whole, self.outer, axis=(1, 2))
        apart = windows[:, :: self.inner_height, :: self.inner_width]
        return np.ascontiguousarray(apart.transpose(3, 4, 0, 1, 2)).reshape(*self.outer, self.count)

    def join(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Joins blocks without halos [inner rows, inner columns, blocks] to [planes, height, width]."""
        apart = values.reshape(self.inner_height, self.inner_width, self.planes, self.rows, self.columns)
        whole = apart.transpose(2, 3, 0, 4, 1).reshape(
            self.planes, self.rows * self.inner_height, self.columns * self.inner_width
        )
        return whole[:, : self.height, : self.width]


def arrange(
    shape: tuple[int, int, int], halo: int, slots: int, results: int, fits: Callable[[Blocks], bool]
) -> Blocks:
    """Returns the blocks that cost the least work.

    Args:
        shape: planes, height and width.
        slots: largest number of blocks.
        results: number of kernels.
        fits: returns whether such blocks are small enough.

    Raises:
        InvalidArgument: if no blocks fit.
    """
    planes, height, width = shape
    most = slots // planes
    candidates = [
        Blocks(*shape, halo, min(height, most // columns), columns)
        for columns in range(1, min(width, most) + 1)
    ]
    fitting = [one for one in candidates if fits(one)]
    if not fitting:
        raise InvalidArgument(
            f"a picture of {width} x {height} in {slots} slots with a filter that reaches {halo} pixels "
            "takes too many ciphertexts, want a smaller one"
        )
    return min(fitting, key=lambda one: one.cost(results))
