"""What lies beyond the edge of a picture: chosen by the keyholder, before anything is encrypted."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt


class Border(Enum):
    """By numpy's name of it; OpenCV's is in brackets."""

    REFLECT = "reflect"  # mirrored without repeating the last pixel (BORDER_REFLECT_101)
    CONSTANT = "constant"  # black (BORDER_CONSTANT)
    REPLICATE = "edge"  # the last pixel (BORDER_REPLICATE)


def pad(planes: npt.NDArray[Any], reach: int, border: Border) -> npt.NDArray[Any]:
    """Planes [..., height, width] with `reach` pixels more on every side.

    A picture smaller than the reach is mirrored again and again, as OpenCV does it.
    """
    widths = ((0, 0),) * (planes.ndim - 2) + ((reach, reach),) * 2
    return np.pad(planes, widths, mode=border.value)
