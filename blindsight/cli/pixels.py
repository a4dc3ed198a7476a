"""Writes pixels as a file that keeps every one of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NUMPY = ".npy"
# Pillow's names of the formats without loss.
_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}


def require_lossless(path: Path) -> None:
    """Refuses a file whose format would change pixels, or does not say what it is.

    Raises:
        InvalidArgument: with the formats that do.
    """
    if path.suffix.lower() not in {*_FORMATS, NUMPY}:
        raise InvalidArgument(
            f"planes go to a file that keeps every pixel: got {path.name}, want .png, .tif or .npy"
        )


def encode(image: npt.NDArray[np.uint8], path: Path) -> bytes:
    """The bytes of a file of the path's format: uint8 [height, width] or [height, width, 3]."""
    buffer = io.BytesIO()
    if path.suffix.lower() == NUMPY:
        import numpy as np

        np.save(buffer, image, allow_pickle=False)
    else:
        from PIL import Image

        Image.fromarray(image).save(buffer, _FORMATS[path.suffix.lower()])
    return buffer.getvalue()
