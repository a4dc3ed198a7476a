"""Keypoints as arrays: within an octave, and of a whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

DESCRIPTOR = 128
_BYTE_SCALE = np.float32(512)


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Arrays of one length, with an entry for each keypoint."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, chosen: Indices | npt.NDArray[np.bool_] | slice) -> Self:
        """Returns the chosen entries."""
        return type(self)(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Concatenates parts, at least one."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        return cls(**{name: np.concatenate(arrays) for name, arrays in columns.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Points(_Columns):
    """Extrema of one octave, in its pixels.

    Attributes:
        levels: [count], index of the difference in which each was found.
        places: [count, 2], x and y.
        scales: [count], blur at which each was found.
        responses: [count], contrast in grey levels.
        angles: [count], in radians; 0 until they are known.
    """

    levels: Indices
    places: Floats
    scales: Floats
    responses: Floats
    angles: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Features(_Columns):
    """Keypoints of an image with their descriptors.

    Attributes:
        places: [count, 2], x and y in the image's pixels; (0, 0) is the middle of the first pixel.
        scales: [count], blur in the image's pixels; OpenCV's size is twice that.
        angles: [count], radians from the x axis towards the y axis, which points down; 0 to 2 pi.
        responses: [count], contrast in grey levels.
        octaves: [count], -1 for the doubled image.
        descriptors: [count, 128], unit vectors.
    """

    places: Floats
    scales: Floats
    angles: Floats
    responses: Floats
    octaves: Indices
    descriptors: npt.NDArray[np.float32]

    @classmethod
    def none(cls) -> Features:
        """Returns the features of an image without keypoints."""
        nothing = np.zeros(0)
        return cls(
            np.zeros((0, 2)),
            nothing,
            nothing,
            nothing,
            np.zeros(0, np.intp),
            np.zeros((0, DESCRIPTOR), np.float32),
        )

    def descriptor_bytes(self) -> npt.NDArray[np.uint8]:
        """Returns descriptors as OpenCV does: uint8 [count, 128], 512 times the unit vectors, at most 255."""
        scaled: npt.NDArray[np.float32] = np.rint(self.descriptors * _BYTE_SCALE)
        return np.minimum(scaled, 255).astype(np.uint8)

    def strongest(self, count: int) -> Features:
        """Returns the features of highest contrast, at most `count`, best first."""
        return self.take(np.argsort(-self.responses, kind="stable")[:count])
