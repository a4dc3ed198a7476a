"""Planes cut into blocks on top of each other: what an additive scheme packs into one ciphertext."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument

# What decryption takes, in encryptions: the sizes of blocks are chosen by it.
_DECRYPTION = 9


@dataclass(frozen=True, slots=True)
class Blocks:
    """How planes are cut.

    Attributes:
        planes, height, width: of the picture.
        halo: pixels of its neighbours around every block.
        rows, columns: of blocks, of each plane.
    """

    planes: int
    height: int
    width: int
    halo: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Blocks of all planes."""
        return self.planes * self.rows * self.columns

    @property
    def inner_height(self) -> int:
        """Rows of a block that are its own."""
        return -(-self.height // self.rows)

    @property
    def inner_width(self) -> int:
        """Columns of a block that are its own."""
        return -(-self.width // self.columns)

    @property
    def outer(self) -> tuple[int, int]:
        """Rows and columns of a block, halo included."""
        return self.inner_height + 2 * self.halo, self.inner_width + 2 * self.halo

    def cost(self, results: int) -> int:
        """Of encrypting, and of decrypting so many results."""
        height, width = self.outer
        return height * width + _DECRYPTION * results * self.inner_height * self.inner_width

    def cut(self, padded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Planes with what lies beyond their border, [planes, height + 2 halo, width + 2 halo].

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
        """Blocks without halos [inner rows, inner columns, blocks] as planes [planes, height, width]."""
        apart = values.reshape(self.inner_height, self.inner_width, self.planes, self.rows, self.columns)
        whole = apart.transpose(2, 3, 0, 4, 1).reshape(
            self.planes, self.rows * self.inner_height, self.columns * self.inner_width
        )
        return whole[:, : self.height, : self.width]


def arrange(
    shape: tuple[int, int, int], halo: int, slots: int, results: int, fits: Callable[[Blocks], bool]
) -> Blocks:
    """The blocks that take the least work.

    Args:
        shape: planes, height and width.
        slots: blocks at most.
        results: kernels.
        fits: whether there is room for such blocks.

    Raises:
        InvalidArgument: when there is none.
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
