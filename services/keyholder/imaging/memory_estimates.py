"""Estimates of the most memory that jobs take, by their plans.

All but `BASE` and `_DESCRIPTORS` grow with the picture and are given in bytes for each value, which is one
pixel of one channel.  They cover pixels, tiles and results that exist at the same time.  The numbers are
measured peaks of the service plus a tenth; its worker processes hold a few blocks for a picture of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from blindsight.trusted.imaging.linear import LinearMap
from services.keyholder.imaging.engine import Shape

# Blocks in transit between the service, its worker processes and the evaluator.
BASE = 48 << 20
# A decoded picture, while it is received from a worker process and as the job keeps it.
_PICTURE = 5
_FIRST_MAP, _FURTHER_MAP = 25, 16
# Results of more than 16 bits are processed further in double precision.
_WIDE_MAP, _WIDE_GAIN = 16, 256
# Numbers into which planes of levels are packed.
_PACKED = 24
_RANKS = 12
_DIFFERENCE = 24
# One level of an octave, for each pixel of the picture in which keypoints are searched.
_LEVEL = 72
_DESCRIPTORS = 64 << 20


def of_pictures(shapes: Iterable[Shape], value_bytes: int = 0) -> int:
    """Returns the memory for pictures, blocks in transit, and values that are prepared for encryption.

    Args:
        value_bytes: that of the scheme; see `PlaneScheme`.
    """
    return BASE + sum(math.prod(one) for one in shapes) * (_PICTURE + value_bytes)


def of_maps(maps: Sequence[LinearMap], shape: Shape) -> int:
    """Returns the memory for results of linear maps and their processing."""
    wide = any(abs(one.weights).sum() > _WIDE_GAIN for one in maps)
    each = _WIDE_MAP if wide else 0
    return math.prod(shape) * (_FIRST_MAP + (len(maps) - 1) * _FURTHER_MAP + len(maps) * each)


def of_counts(shape: Shape, parts_at_once: int) -> int:
    """Returns the memory for the ranks of all neighbours, and for the packed planes of one call."""
    _, height, width = shape
    return math.prod(shape) * _RANKS + parts_at_once * height * width * _PACKED


def of_difference(shape: Shape, value_bytes: int) -> int:
    """Returns the memory for two pictures of the same shape and their difference.

    Args:
        value_bytes: that of the scheme, counted once for both pictures; see `PlaneScheme`.
    """
    return of_pictures([shape, shape]) + math.prod(shape) * (_DIFFERENCE + value_bytes)


def of_scale_space(height: int, width: int, levels: int) -> int:
    """Returns the memory for an octave of a picture of this size.

    Args:
        levels: number of Gaussians of an octave.
    """
    return height * width * levels * _LEVEL


def of_encrypted_matching() -> int:
    """Returns the memory for the ciphertexts of the most descriptors that are compared."""
    return _DESCRIPTORS
