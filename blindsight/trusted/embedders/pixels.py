from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blindsight.errors import InvalidArgument, InvalidImage

CHANNELS = MappingProxyType({"grey": 1, "rgb": 3})
"""Colour channels of raw pixels by name."""

# No parameter set can represent the squared norm of a larger image's channels.
MAX_SIZE = 64
DEFAULT_SIZE = 64
_MODES = {"grey": "L", "rgb": "RGB"}


class Channels:
    """Raw pixels of a small image, channel by channel and not normalised: [channels * size * size].

    An image that already has this size is used as it is; others are resized by averaging pixels.
    """

    name: ClassVar[str] = "pixels"

    def __init__(self, channels: str, dimension: int | None = None) -> None:
        if channels not in CHANNELS:
            raise InvalidArgument(f"channels {channels[:40]!r}, want one of {', '.join(CHANNELS)}")
        count = CHANNELS[channels]
        self.dimension = count * DEFAULT_SIZE**2 if dimension is None else dimension
        self._mode = _MODES[channels]
        self._side = math.isqrt(max(self.dimension, 0) // count)
        if not 2 <= self._side <= MAX_SIZE or self._side**2 * count != self.dimension:
            raise InvalidArgument(
                f"{self.dimension} values of {count} channels, want squares of 2 to {MAX_SIZE} pixels a side"
            )

    @property
    def at_least(self) -> int:
        return 2 * self._side

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        size = self._side, self._side
        picture = image.convert(self._mode)
        small = picture if picture.size == size else picture.resize(size, Image.Resampling.BOX)
        by_channel = np.asarray(small, dtype=np.float32).reshape(self._side**2, -1).T
        return by_channel.ravel()


class Pixels:
    """A small grey thumbnail of the image: finds copies exactly, but not crops or mirror images.

    The cosine of two such vectors is the correlation coefficient of the two thumbnails, so brightness and
    contrast cancel.
    """

    name: ClassVar[str] = "pixels"

    def __init__(self, dimension: int | None = None) -> None:
        self.dimension = 1024 if dimension is None else dimension
        self._side = math.isqrt(max(self.dimension, 0))
        if self._side < 2 or self._side**2 != self.dimension:
            raise InvalidArgument(
                f"dimension of embedder 'pixels': {self.dimension}, want a square of 2 or more, such as 1024"
            )

    @property
    def at_least(self) -> int:
        # Twice the thumbnail's side, so that each of its pixels is a mean of several.
        return 2 * self._side

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        thumbnail = image.convert("L").resize((self._side, self._side), Image.Resampling.BOX)
        values = np.asarray(thumbnail, dtype=np.float64).ravel()
        values -= values.mean()
        length = np.linalg.norm(values)
        # Grey levels are integers: two different levels give a larger norm, a single one only rounding error.
        if length < 0.5:
            raise InvalidImage("image has no contrast: one flat colour, want a picture")
        return (values / length).astype(np.float32)
