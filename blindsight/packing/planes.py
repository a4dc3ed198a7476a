"""The layout of pixels in polynomials: a ciphertext is a tile of one channel, a coefficient a pixel.

Rows of a tile follow each other.  Halos beyond the image's border mirror it, without repeating the last
pixel; tiles that extend farther repeat the last value.  Adding or subtracting ciphertexts of two images of
one layout adds or subtracts their pixels, so `unpack` accepts any integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.tiling import Tiling

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class PlaneLayout(Tiling):
    """The layout of one image; see `Tiling` for its attributes."""

    @classmethod
    def of(cls, image: Integers, ring_degree: int, halo: int = 0) -> PlaneLayout:
        """Returns the layout of an image [height, width] or [height, width, 3].

        Raises:
            InvalidArgument: if it has another shape, or is too large.
        """
        if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise InvalidArgument(
                f"image of shape {list(image.shape)}, want [height, width] or [height, width, 3]"
            )
        height, width = image.shape[:2]
        return cls(width, height, 1 if image.ndim == 2 else 3, ring_degree, halo)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the image: [height, width], or [height, width, 3]."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    def pack(self, image: Integers) -> Integers:
        """Cuts an image into tiles.

        Args:
            image: [height, width] or [height, width, 3], of any integers.

        Returns:
            [ciphertexts, N], of the same type.

        Raises:
            InvalidArgument: if the image is not of this layout.
        """
        if image.shape != self.shape:
            raise InvalidArgument(f"image of shape {list(image.shape)}, want {list(self.shape)}")
        planes = image.reshape(self.height, self.width, self.channels)
        widths = (self.halo, self.halo)
        padded = [np.pad(planes[:, :, channel], widths, mode="reflect") for channel in range(self.channels)]
        return np.concatenate([self.cut(plane) for plane in padded])

    def cut(self, padded: Integers) -> Integers:
        """Cuts one padded plane, [height + 2 halo, width + 2 halo], into [tiles, N]."""
        below = self.tile_rows * self.inner_height - self.height
        right = self.tile_columns * self.inner_width - self.width
        whole = np.pad(padded, ((0, below), (0, right)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(whole, (self.tile_height, self.tile_width))
        return windows[:: self.inner_height, :: self.inner_width].reshape(self.tiles, self.ring_degree)

    def unpack(self, tiles: Integers) -> Integers:
        """Joins tiles [ciphertexts, N] without their halos: the inverse of `pack`.

        Raises:
            InvalidArgument: if they are not of this layout.
        """
        if tiles.shape != (self.ciphertexts, self.ring_degree):
            raise InvalidArgument(
                f"tiles of shape {list(tiles.shape)}, want {[self.ciphertexts, self.ring_degree]}"
            )
        planes = self.join(self.inner(tiles))
        return np.ascontiguousarray(planes.transpose(1, 2, 0)).reshape(self.shape)

    def inner(self, tiles: Integers) -> Integers:
        """Removes the halos of tiles [count, N]: [count, inner height, inner width]."""
        own = slice(self.halo, self.halo + self.inner_height), slice(self.halo, self.halo + self.inner_width)
        return tiles.reshape(-1, self.tile_height, self.tile_width)[:, own[0], own[1]]

    def join(self, inner: Integers) -> Integers:
        """Joins tiles [ciphertexts, inner height, inner width] to planes [channels, height, width]."""
        shape = (self.channels, self.tile_rows, self.tile_columns, self.inner_height, self.inner_width)
        rows, columns = self.tile_rows * self.inner_height, self.tile_columns * self.inner_width
        planes = inner.reshape(shape).transpose(0, 1, 3, 2, 4).reshape(self.channels, rows, columns)
        return planes[:, : self.height, : self.width]
