"""Embedders map an image to a unit vector, so that the cosine of two vectors compares two images.

Raw pixels of colour channels are the exception: they are not normalised, and compared by squared cosine.

A new embedder is one file in this folder and one row in `EMBEDDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blindsight.errors import InvalidArgument
from blindsight.trusted.embedders.descriptor import Descriptor
from blindsight.trusted.embedders.external import External
from blindsight.trusted.embedders.none import NoEmbedder
from blindsight.trusted.embedders.pixels import Channels, Pixels
from blindsight.trusted.embedders.sift import Sift

__all__ = ["DEFAULT", "EMBEDDERS", "EXTERNAL", "NONE", "SIFT", "Embedder", "create"]


class Embedder(Protocol):
    """A function from images to vectors.

    `dimension` is the length of a vector; `at_least` is the shortest side, in pixels, that an image
    must have (pass it to `images.decode`).
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def at_least(self) -> int: ...

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        """Returns a float32 vector of shape [dimension], always the same for the same pixels.

        Raises:
            InvalidImage: if the image has nothing to describe, such as one flat colour.
            InvalidArgument: if this embedder makes no vectors (`none`, `external`).
        """
        ...


EMBEDDERS: MappingProxyType[str, Callable[[int | None], Embedder]] = MappingProxyType(
    {
        Descriptor.name: Descriptor,
        Pixels.name: Pixels,
        Sift.name: Sift,
        External.name: External,
        NoEmbedder.name: NoEmbedder,
    }
)
"""Factories of embedders by name: each takes the wanted dimension, None for the embedder's own."""

DEFAULT = Descriptor.name
EXTERNAL = External.name
NONE = NoEmbedder.name
SIFT = Sift.name


def create(name: str, dimension: int | None = None, channels: str = "") -> Embedder:
    """Creates the named embedder.

    Args:
        channels: colour channels of raw pixels; "" for a unit vector.

    Raises:
        InvalidArgument: if the name is unknown, or the embedder does not offer this dimension or channels.
    """
    if name not in EMBEDDERS:
        # Truncated: the name may be untrusted input of any length.
        raise InvalidArgument(f"embedder: {name[:40]!r}, want one of {', '.join(sorted(EMBEDDERS))}")
    if not channels:
        return EMBEDDERS[name](dimension)
    if name != Channels.name:
        raise InvalidArgument(f"channels of embedder {name!r}, want embedder {Channels.name!r} for them")
    return Channels(channels, dimension)
