"""Non-linear operations after decryption: rounding, clipping, magnitude and direction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.floating[Any]]
LARGEST = 255
# Below this, single precision is accurate to a hundredth of a grey level.
_MOST_SINGLE = 1 << 16


class Kind(StrEnum):
    """The kinds of values of an image."""

    PIXELS = "pixels"  # uint8
    SIGNED = "signed"  # int32
    DEGREES = "degrees"  # int32, 0 to 359; -1 where there is no direction


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image that can be shown.

    Attributes:
        kind: the kind of its values.
        values: uint8 for pixels, else int32; [planes, height, width].
        clipped: number of values that were clipped to 0 to 255.
    """

    kind: Kind
    values: npt.NDArray[np.uint8] | npt.NDArray[np.int32]
    clipped: int = 0


def scaled(values: npt.NDArray[np.int32], scale: int) -> Reals:
    """Divides integers by the scale of their kernel."""
    small = np.abs(values).max(initial=0) < _MOST_SINGLE * scale
    reals: Reals = values.astype(np.float32 if small else np.float64)
    return reals / reals.dtype.type(scale)


def pixels(values: Reals) -> Picture:
    """Rounds values and clips them to bytes."""
    rounded = np.rint(values)
    clipped = np.clip(rounded, 0, LARGEST)
    return Picture(Kind.PIXELS, clipped.astype(np.uint8), int(np.count_nonzero(clipped != rounded)))


def signed(values: Reals) -> Picture:
    """Rounds values to signed integers."""
    return Picture(Kind.SIGNED, np.rint(values).astype(np.int32))


def magnitude(across: Reals, down: Reals) -> Picture:
    """Returns the length of the gradient, as pixels."""
    return pixels(np.hypot(across, down))


def direction(across: Reals, down: Reals) -> Picture:
    """Returns the gradient's direction in degrees; -1 where its length rounds to 0.

    Degrees are clockwise from the right, as y points down (OpenCV's phase).
    """
    degrees = np.rint(np.degrees(np.arctan2(down, across))).astype(np.int32) % 360
    degrees[np.rint(np.hypot(across, down)) == 0] = -1
    return Picture(Kind.DEGREES, degrees)
