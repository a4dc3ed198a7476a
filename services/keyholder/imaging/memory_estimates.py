"""What jobs take of memory at most, estimated before they begin.

All but `BASE` grows with the picture: so many bytes a value, which is a pixel of a channel, for pixels,
tiles, results and what is made of them side by side.  The numbers are measured peaks of the service, and a
tenth more; its workers hold a few blocks, whatever the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from blindsight.trusted.imaging.filters import AnyStep, Step
from blindsight.trusted.imaging.linear import LinearMap
from blindsight.trusted.imaging.morphology import Morphology, Packing
from blindsight.trusted.imaging.quantising import Room

Shape = tuple[int, int, int]

# Blocks on their way between the service, its workers and the evaluator.
BASE = 48 << 20
# A decoded picture on its way from a worker, and as the job has it.
_PICTURE = 5
_FIRST_MAP, _FURTHER_MAP = 25, 16
# Results of over 16 bits are finished in double precision.
_WIDE_MAP, _WIDE_GAIN = 16, 256
# Of numbers that planes of levels are packed in, of which a call has so many at most.
_PACKED, _PACKED_AT_ONCE = 24, 8 << 20
_RANKS = 12
_DIFFERENCE = 24
_STACKED = 24
# Of an octave's images for each pixel of the picture that keypoints are looked for in.
_LEVEL = 72
_DESCRIPTORS = 64 << 20


def of_filter(steps: Sequence[AnyStep], shape: Shape, room: Room, *, stacked: bool) -> int:
    """A list of operations: its largest step.

    Args:
        shape: channels, height and width.
        room: of the scheme.
        stacked: whether the picture is encrypted in stacks, as under Paillier.

    Raises:
        InvalidArgument: for counts that have no room.
    """
    most = max(_of_step(one, shape, room) for one in steps)
    return BASE + math.prod(shape) * (_PICTURE + (_STACKED if stacked else 0)) + most


def _of_step(step: AnyStep, shape: Shape, room: Room) -> int:
    values = math.prod(shape)
    if isinstance(step, Step):
        return values * _of_maps(step.maps)
    if isinstance(step, Morphology):
        plane = values // shape[0]
        groups = Packing.of(step.element, step.levels, room).groups
        packed = min(values * groups, max(_PACKED_AT_ONCE, plane))
        return values * _RANKS + packed * _PACKED
    return 0


def _of_maps(maps: Sequence[LinearMap]) -> int:
    """Bytes a value."""
    wide = any(abs(one.weights).sum() > _WIDE_GAIN for one in maps)
    each = _WIDE_MAP if wide else 0
    return _FIRST_MAP + (len(maps) - 1) * _FURTHER_MAP + len(maps) * each


def of_difference(shapes: Iterable[Shape], *, stacked: bool) -> int:
    """Two pictures; grey beside colour is taken as colour."""
    values = max(math.prod(one) for one in shapes)
    return BASE + values * (2 * _PICTURE + _DIFFERENCE + (_STACKED if stacked else 0))


def of_keypoints(shapes: Sequence[Shape], side: int, levels: int) -> int:
    """One picture after the other, each made smaller to `side` pixels.

    Args:
        levels: Gaussians of an octave.
    """
    pixels = max(_reduced(height, width, side) for _, height, width in shapes)
    return BASE + sum(map(math.prod, shapes)) * _PICTURE + pixels * levels * _LEVEL


def of_encrypted_matching() -> int:
    """Ciphertexts of the most descriptors that are compared."""
    return _DESCRIPTORS


def _reduced(height: int, width: int, side: int) -> int:
    share = min(1.0, side / max(height, width))
    return math.ceil(height * share) * math.ceil(width * share)
