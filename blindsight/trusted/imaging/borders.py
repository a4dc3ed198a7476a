"""Border modes, by which the keyholder pads images before they are encrypted."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


class Border(StrEnum):
    """The pixels beyond the edge of an image; OpenCV's names are in brackets."""

    REFLECT = "reflect"  # mirrored without repeating the last pixel (BORDER_REFLECT_101)
    CONSTANT = "constant"  # black (BORDER_CONSTANT)
    REPLICATE = "replicate"  # the last pixel (BORDER_REPLICATE)


_MODES: dict[Border, Literal["reflect", "constant", "edge"]] = {
    Border.REFLECT: "reflect",
    Border.CONSTANT: "constant",
    Border.REPLICATE: "edge",
}


def pad(planes: npt.NDArray[Any], reach: int, border: Border) -> npt.NDArray[Any]:
    """Pads planes [..., height, width] by `reach` pixels on every side.

    An image smaller than the reach is mirrored repeatedly, as in OpenCV.
    """
    widths = ((0, 0),) * (planes.ndim - 2) + ((reach, reach),) * 2
    return np.pad(planes, widths, mode=_MODES[border])
