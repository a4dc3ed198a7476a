"""Conversion of values to pixels, and lossless image files."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blindsight.cli import files
from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

NUMPY = ".npy"
# Pillow's names of the lossless formats.
_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}


def upright(image: Image.Image) -> Image.Image:
    """Returns a photo as the vault sees it: upright, in RGB, transparency on white."""
    from PIL import Image, ImageOps  # imported late: most commands show no picture

    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    coloured = turned.convert("RGBA")
    white = Image.new("RGB", coloured.size, "white")
    white.paste(coloured, mask=coloured)
    return white


class PixelRule(StrEnum):
    """The rules by which a value becomes a pixel."""

    CLIP = "clip"
    ABSOLUTE = "absolute"
    OFFSET = "offset"


def as_pixels(values: npt.NDArray[Any], rule: PixelRule) -> tuple[npt.NDArray[Any], int]:
    """Returns values as uint8, and the number of values that were clipped."""
    import numpy as np

    if rule is PixelRule.ABSOLUTE:
        values = np.abs(values)
    elif rule is PixelRule.OFFSET:
        values = 128 + values // 2
    clipped = np.clip(values, 0, 255)
    return clipped.astype(np.uint8), int(np.count_nonzero(clipped != values))


def require_output(path: Path) -> None:
    """Checks that an output file has a lossless format, and can be written.

    Raises:
        InvalidArgument: if its suffix is not one of a lossless format; names those.
        Failure: if it cannot be written.
    """
    if path.suffix.lower() not in {*_FORMATS, NUMPY}:
        raise InvalidArgument(
            f"pixels go to a file that keeps every one: got {path.name or path}, want .png, .tif or .npy"
        )
    files.require_writable(path)


def encode(image: npt.NDArray[Any], path: Path) -> bytes:
    """Encodes uint8 [height, width] or [height, width, 3] in the path's format; .npy takes any numbers."""
    buffer = io.BytesIO()
    if path.suffix.lower() == NUMPY:
        import numpy as np

        np.save(buffer, image, allow_pickle=False)
    else:
        from PIL import Image

        Image.fromarray(image).save(buffer, _FORMATS[path.suffix.lower()])
    return buffer.getvalue()
