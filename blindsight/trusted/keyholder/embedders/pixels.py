from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blindsight.errors import InvalidArgument, InvalidImage


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
