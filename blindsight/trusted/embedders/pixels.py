from __future__ import annotations

import math
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blindsight.errors import InvalidArgument, InvalidImage

CHANNELS = MappingProxyType({"grey": 1, "rgb": 3})
"""Colour channels of raw pixels by what people call them."""

# Larger pictures have channels whose squared length no parameter set has room for.
MAX_SIZE = 64
DEFAULT_SIZE = 64
_MODES = {"grey": "L", "rgb": "RGB"}


class Channels:
    """Raw pixels of a small picture, channel by channel and nothing normalised: [channels * size * size].

    A picture that has the size already is taken as it is; others are resized by the mean of their pixels.
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
    """The picture itself, small and grey: exact for copies, blind to crops and mirrors.

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
        # Twice the thumbnail: each of its pixels is then a mean of several.
        return 2 * self._side

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        thumbnail = image.convert("L").resize((self._side, self._side), Image.Resampling.BOX)
        values = np.asarray(thumbnail, dtype=np.float64).ravel()
        values -= values.mean()
        length = np.linalg.norm(values)
        # Grey levels are whole: with two of them a thumbnail is longer than this, with one only rounding is.
        if length < 0.5:
            raise InvalidImage("image has no contrast: one flat colour, want a picture")
        return (values / length).astype(np.float32)
