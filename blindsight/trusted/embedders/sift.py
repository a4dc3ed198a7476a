"""One vector per photo, aggregated from its keypoints, to choose the photos whose keypoints are compared.

The photo is then recognised by the keypoints themselves (`imaging.keypoints`).

Descriptors are reduced to 13 numbers each and summed in 16 cells, much as in VLAD (Jegou et al., CVPR
2010); but nothing is learnt, and there is no codebook that a vector could become incompatible with.  The
numbers are a descriptor's lowest frequencies over its 4 x 4 spatial bins and around its 8 orientations; a
cell is one combination of the signs of four of them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import InvalidArgument, InvalidImage
from blindsight.trusted.imaging import keypoints, opencv
from blindsight.trusted.imaging.keypoints import Keypoints

Vector = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_PLACES, _DIRECTIONS = 4, 8
# The largest sum of a coordinate's row, column and direction frequencies.
_HIGHEST_FREQUENCY = 2
# (row, column, direction wave) of the four coordinates in which descriptors of photos differ most.
_SIGNS = ((0, 1, 1), (0, 0, 1), (0, 0, 3), (1, 0, 2))


def _basis() -> tuple[Floats, list[int]]:
    """Returns orthonormal low frequencies of a descriptor, [128, count], and the indices of `_SIGNS`."""
    waves = _waves()
    columns, names = [], []
    for row in range(_PLACES):
        for column in range(_PLACES):
            for wave, (frequency, values) in enumerate(waves):
                if 0 < row + column + frequency <= _HIGHEST_FREQUENCY:
                    grid = np.einsum("r,c,d->rcd", _cosine(row), _cosine(column), values)
                    columns.append(grid.ravel())
                    names.append((row, column, wave))
    return np.column_stack(columns), [names.index(one) for one in _SIGNS]


def _cosine(frequency: int) -> Floats:
    """Returns one vector of the discrete cosine transform over the spatial bins."""
    middles = np.arange(_PLACES) + 0.5
    return _unit(np.cos(np.pi * frequency * middles / _PLACES))


def _waves() -> list[tuple[int, Floats]]:
    """Returns frequencies and vectors of the discrete Fourier transform around the directions."""
    turns = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    made = [(0, np.ones(_DIRECTIONS))]
    for frequency in range(1, _HIGHEST_FREQUENCY + 1):
        made += [(frequency, np.cos(frequency * turns)), (frequency, np.sin(frequency * turns))]
    return [(frequency, _unit(wave)) for frequency, wave in made]


def _unit(values: Floats) -> Floats:
    unit: Floats = values / np.linalg.norm(values)
    return unit


_BASIS, _SPLIT = _basis()
_CELLS = 1 << len(_SPLIT)


class Sift:
    """The aggregated descriptors of a photo's strongest keypoints.

    Raises:
        InvalidArgument: if OpenCV is not installed, or the dimension is another one.
    """

    name: ClassVar[str] = "sift"
    at_least: ClassVar[int] = keypoints.SIDE
    dimension = _CELLS * _BASIS.shape[1]

    def __init__(self, dimension: int | None = None) -> None:
        if dimension not in {None, self.dimension}:
            raise InvalidArgument(f"dimension of embedder 'sift': {dimension}, want {self.dimension}")
        opencv.require_installed()

    def embed(self, image: Image.Image) -> Vector:
        return self.vector(keypoints.enough(image))

    def vector(self, found: Keypoints) -> Vector:
        """Returns the vector of keypoints.

        Raises:
            InvalidImage: if they say nothing.
        """
        descriptors = found.features.descriptors.astype(np.float64)
        # Square roots turn inner products into Hellinger's kernel (Arandjelovic and Zisserman, CVPR 2012).
        low = np.sqrt(_scaled(descriptors, descriptors.sum(axis=1))) @ _BASIS
        cells = (low[:, _SPLIT] > 0) @ (1 << np.arange(len(_SPLIT)))
        added = np.zeros((_CELLS, _BASIS.shape[1]))
        np.add.at(added, cells, _scaled(low, np.linalg.norm(low, axis=1)))
        # Square roots keep a repeated texture from dominating the rest.
        summed = np.sign(added) * np.sqrt(np.abs(added))
        if not summed.any():
            raise InvalidImage("image is the same all around its keypoints, want a picture")
        return _unit(summed.ravel()).astype(np.float32)


def _scaled(rows: Floats, lengths: Floats) -> Floats:
    scaled: Floats = rows / np.maximum(lengths, 1e-12)[:, None]
    return scaled
