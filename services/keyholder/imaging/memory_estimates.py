"""What jobs take of memory at most, by their plans.

All but `BASE` grows with the picture: so many bytes a value, which is a pixel of a channel, for pixels,
tiles, results and what is made of them side by side.  The numbers are measured peaks of the service, and a
tenth more; its workers hold a few blocks, whatever the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from blindsight.trusted.imaging.linear import LinearMap
from services.keyholder.imaging.engine import Shape

# Blocks on their way between the service, its workers and the evaluator.
BASE = 48 << 20
# A decoded picture on its way from a worker, and as the job has it.
_PICTURE = 5
_FIRST_MAP, _FURTHER_MAP = 25, 16
# Results of over 16 bits are finished in double precision.
_WIDE_MAP, _WIDE_GAIN = 16, 256
# Of numbers that planes of levels are packed in.
_PACKED = 24
_RANKS = 12
_DIFFERENCE = 24
# Of an octave's images for each pixel of the picture that keypoints are looked for in.
_LEVEL = 72
_DESCRIPTORS = 64 << 20


def of_pictures(shapes: Iterable[Shape], value_bytes: int = 0) -> int:
    """Pictures, and what all that computes with them has beside them.

    Args:
        value_bytes: of the scheme; see `PlaneScheme`.
    """
    return BASE + sum(math.prod(one) for one in shapes) * (_PICTURE + value_bytes)


def of_maps(maps: Sequence[LinearMap], shape: Shape) -> int:
    """Results of linear maps, and what is made of them."""
    wide = any(abs(one.weights).sum() > _WIDE_GAIN for one in maps)
    each = _WIDE_MAP if wide else 0
    return math.prod(shape) * (_FIRST_MAP + (len(maps) - 1) * _FURTHER_MAP + len(maps) * each)


def of_counts(shape: Shape, parts_at_once: int) -> int:
    """Ranks of all neighbours, and planes of packed levels that one call counts in."""
    _, height, width = shape
    return math.prod(shape) * _RANKS + parts_at_once * height * width * _PACKED


def of_difference(shape: Shape, value_bytes: int) -> int:
    """Two pictures of the same shape and their difference.

    Args:
        value_bytes: of the scheme, which has both side by side; see `PlaneScheme`.
    """
    return of_pictures([shape, shape]) + math.prod(shape) * (_DIFFERENCE + value_bytes)


def of_scale_space(height: int, width: int, levels: int) -> int:
    """An octave of a picture of so many pixels.

    Args:
        levels: Gaussians of an octave.
    """
    return height * width * levels * _LEVEL


def of_encrypted_matching() -> int:
    """Ciphertexts of the most descriptors that are compared."""
    return _DESCRIPTORS
