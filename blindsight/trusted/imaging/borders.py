"""What lies beyond the edge of a picture: chosen by the keyholder, before anything is encrypted."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


class Border(StrEnum):
    """OpenCV's name of it is in brackets."""

    REFLECT = "reflect"  # mirrored without repeating the last pixel (BORDER_REFLECT_101)
    CONSTANT = "constant"  # black (BORDER_CONSTANT)
    REPLICATE = "replicate"  # the last pixel (BORDER_REPLICATE)


_MODES: dict[Border, Literal["reflect", "constant", "edge"]] = {
    Border.REFLECT: "reflect",
    Border.CONSTANT: "constant",
    Border.REPLICATE: "edge",
}


def pad(planes: npt.NDArray[Any], reach: int, border: Border) -> npt.NDArray[Any]:
    """Planes [..., height, width] with `reach` pixels more on every side.

    A picture smaller than the reach is mirrored again and again, as OpenCV does it.
    """
    widths = ((0, 0),) * (planes.ndim - 2) + ((reach, reach),) * 2
    return np.pad(planes, widths, mode=_MODES[border])
