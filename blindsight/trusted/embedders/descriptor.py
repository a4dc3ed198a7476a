"""An image descriptor of 128 numbers from gradients and hues, without a trained model.

Designed for near duplicates: a crop, a mirror image, changed brightness, blur, strong JPEG compression or a
small rotation changes the vector little, a different photo changes it a lot.  Its tests bound both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blindsight.errors import InvalidArgument, InvalidImage

Array = NDArray[np.float32]

GRID = 4
"""Gradients are counted in GRID x GRID cells that overlap."""

HUES = 16
HUE_WEIGHT = 0.8


@dataclass(frozen=True, slots=True)
class Scale:
    """One gradient scale: a `side` x `side` image, blurred by `sigma` pixels."""

    side: int
    sigma: float
    orientations: int


# Fine structure distinguishes textures, coarse structure survives blur and strong JPEG compression.
SCALES = (Scale(side=128, sigma=1.2, orientations=4), Scale(side=64, sigma=2.4, orientations=3))
DIMENSION = sum(scale.orientations * GRID * GRID for scale in SCALES) + HUES


class Descriptor:
    """Histograms of oriented gradients at two scales and a histogram of hues."""

    name: ClassVar[str] = "descriptor"
    at_least: ClassVar[int] = 2 * SCALES[0].side

    def __init__(self, dimension: int | None = None) -> None:
        if dimension not in {None, DIMENSION}:
            raise InvalidArgument(f"dimension of embedder 'descriptor': {dimension}, want {DIMENSION}")
        self.dimension = DIMENSION

    def embed(self, image: Image.Image) -> Array:
        picture = _square(image.convert("RGB"), SCALES[0].side)
        if np.ptp(np.asarray(picture), axis=(0, 1)).max() == 0:
            raise InvalidImage("image has no contrast: one flat colour, want a picture")
        parts = [_gradients(_light(picture, scale.side), scale) for scale in SCALES]
        parts.append(HUE_WEIGHT * _hues(picture))
        return _unit(np.concatenate(parts)).astype(np.float32)


def _gradients(light: Array, scale: Scale) -> Array:
    """Computes oriented gradients, [orientations * GRID * GRID], length 1 (Dalal and Triggs, CVPR 2005).

    Cells are weighted bilinearly and much wider than in that paper, because a crop moves every edge a little.
    Square roots turn the dot product into Hellinger's kernel (Arandjelovic and Zisserman, CVPR 2012), so that
    a few strong edges do not dominate the rest.
    """
    # Imported here, because it would take a third of a service's start-up time, and only workers need it.
    from skimage.filters import gaussian

    down, across = np.gradient(gaussian(light, scale.sigma, truncate=3.0))
    strength = np.hypot(down, across)
    # Angles are taken modulo pi: dark to light and light to dark are the same edge.
    votes = _vote(np.arctan2(down, across) / np.pi, strength, scale.orientations)
    cells = _cells(scale.side)
    counted = cells @ votes @ cells.T
    return _unit(_fold(np.sqrt(counted / max(float(counted.sum()), 1e-12))))


def _fold(histogram: Array) -> Array:
    """Makes a histogram [orientations, GRID, GRID] invariant to mirroring.

    The sum with the mirrored histogram and the absolute difference from it are the same for an image and its
    mirror image.  Each is centred around its own mean: every image has gradients everywhere, and what all
    have in common would make unrelated photos look alike.  The mean is the image's own, not a data set's.
    """
    # Mirrored, column c becomes GRID - 1 - c and the angle a becomes pi - a, which is bin -b.
    mirrored = np.roll(histogram[::-1, :, ::-1], 1, axis=0)
    half = np.s_[:, :, : GRID // 2]
    both, either = (histogram + mirrored)[half], np.abs(histogram - mirrored)[half]
    return np.concatenate([(both - both.mean()).ravel(), (either - either.mean()).ravel()])


def _hues(picture: Image.Image) -> Array:
    """Counts hues, weighted by saturation: [HUES]; near zero for a grey photo.

    After van de Weijer and Schmid, ECCV 2006.  Hue is the angle of the opponent colours of log channels, in
    which brightness cancels.
    """
    pixels = np.asarray(_square(picture, 32), dtype=np.float32)
    # An offset of 16 (of 255), because channel ratios of darker pixels are noise.
    red, green, blue = np.moveaxis(np.log(pixels + 16.0), 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    saturation = np.hypot(red_green, yellow_blue)
    # The weight levels off: a vivid red must not count ten times as much as an ordinary one.
    weight = saturation / (saturation + 0.3)
    votes = _vote(np.arctan2(yellow_blue, red_green) / (2 * np.pi), weight, HUES)
    hues: Array = np.sqrt(votes.mean(axis=(1, 2)))
    return hues


def _vote(turns: Array, weight: Array, bins: int) -> Array:
    """Splits each pixel's weight between the two nearest of `bins` circular bins: [bins, height, width]."""
    position = (turns % 1.0) * bins
    centres = np.arange(bins, dtype=np.float32)[:, np.newaxis, np.newaxis]
    distance = np.abs(position - centres)
    distance = np.minimum(distance, bins - distance)
    votes: Array = np.maximum(0.0, 1.0 - distance) * weight
    return votes


def _cells(side: int) -> Array:
    """Returns bilinear weights of `side` pixels in GRID cells, [GRID, side]; a cell's weights sum to 1."""
    pixels = (np.arange(side, dtype=np.float32) + 0.5) * (GRID / side)
    centres = np.arange(GRID, dtype=np.float32) + 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(pixels - centres[:, np.newaxis]))
    cells: Array = weights / weights.sum(axis=1, keepdims=True)
    return cells


def _light(picture: Image.Image, side: int) -> Array:
    from skimage.color import rgb2gray

    light: Array = rgb2gray(np.asarray(_square(picture, side))).astype(np.float32)
    return light


def _square(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _unit(values: Array) -> Array:
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else values
