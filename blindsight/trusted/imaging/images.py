"""Decoding of untrusted image bytes.

A photo may be anything: truncated, hostile, sideways, transparent, sixteen bits deep.  `decode` returns
an upright RGB image without metadata; every failure of this module is an `InvalidImage`.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from blindsight.errors import InvalidImage
from blindsight.packing.tiling import MAX_PIXELS as MAX_PLANE_PIXELS
from blindsight.runtime.transfer import MAX_PHOTO_BYTES
from blindsight.trusted.imaging import heif, mending

MAX_BYTES = MAX_PHOTO_BYTES
MAX_PIXELS = 50_000_000

MEDIA_TYPES = MappingProxyType(
    {
        "AVIF": "image/avif",
        "BMP": "image/bmp",
        "GIF": "image/gif",
        heif.FORMAT: "image/heif",
        "JPEG": "image/jpeg",
        "JPEG2000": "image/jp2",
        "PNG": "image/png",
        "PPM": "image/x-portable-anymap",
        "TIFF": "image/tiff",
        "WEBP": "image/webp",
    }
)
"""Every accepted format. Pillow reads forty more, whose decoders are old and rarely looked at."""

# Phones write several images into one JPEG file; Pillow then calls the format MPO.
_ALIASES = {"MPO": "JPEG"}
_WANTED = ", ".join(MEDIA_TYPES)
_PILLOWS = tuple(name for name in MEDIA_TYPES if name != heif.FORMAT)
# Pillow's modes without colour, except those of more than eight bits (`_is_deep`).
_GREY = ("1", "L", "LA", "La")
# EXIF's orientations that swap width and height, and what of a PNG may name one.
_ON_ITS_SIDE = (5, 6, 7, 8)
_PNG_ORIENTATIONS = (b"eXIf", *mending.PNG_ORIENTATIONS)

# `warnings.catch_warnings` changes the whole process: two threads inside it at once could leave warnings off.
_pillow = threading.Lock()


def decode(data: bytes, *, at_least: int | None = None) -> Image.Image:
    """Decodes one image: RGB, upright, transparency on white, the first frame of several.

    Args:
        data: the file, of at most `MAX_BYTES` and with at most `MAX_PIXELS` pixels.
        at_least: the shortest side, in pixels, that the caller needs. A large JPEG is then decoded
            at a half, quarter or eighth of its size, which costs a fraction of the time and memory; neither
            side falls below `at_least` by this. Other formats are decoded in full size.

    Raises:
        InvalidImage: if the data are empty, too large, not an image of an accepted format, truncated or
            damaged.
    """
    with opened(mending.with_end(data, _shown)) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        picture = _displayed(image)
    # The rest of `info` (EXIF, location, comments) must not stay with the pixels.
    picture.info.clear()
    return picture


class Colours(StrEnum):
    """The channels that pixels are converted to."""

    AS_THEY_ARE = "auto"
    GREY = "grey"
    RGB = "rgb"


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The pixels of a photo as it is displayed.

    Attributes:
        values: uint8 [height, width] for a grey photo, [height, width, 3] for any other.
        remark: human-readable text on information that conversion lost; empty if nothing was converted.
    """

    values: npt.NDArray[np.uint8]
    remark: str

    def brought_to(self, colours: Colours) -> Pixels:
        """Converts the pixels to these channels; the remark says what that loses."""
        grey = self.values.ndim == 2
        if colours is Colours.GREY and not grey:
            values = np.asarray(Image.fromarray(self.values).convert("L"))
            return Pixels(values, "; ".join(filter(None, [self.remark, "colour brought to grey"])))
        if colours is Colours.RGB and grey:
            return Pixels(np.repeat(self.values[:, :, np.newaxis], 3, axis=2), self.remark)
        return self


def pixels(data: bytes, colours: Colours = Colours.AS_THEY_ARE) -> Pixels:
    """Decodes all pixels of a photo for planes, as `decode` does, in full size.

    Raises:
        InvalidImage: if `decode` would raise it, or there are more pixels than planes may have.
    """
    with opened(mending.with_end(data, _shown)) as image:
        _check_plane_pixels(image)
        remark = _remark(image)
        grey = _is_grey_file(image)
        values = np.asarray(_displayed(image))
    # In a grey photo all three channels are equal.
    return Pixels(np.ascontiguousarray(values[:, :, 0]) if grey else values, remark).brought_to(colours)


def plane_shape(data: bytes, colours: Colours = Colours.AS_THEY_ARE) -> tuple[int, int, int]:
    """Reads the channels, height and width that `pixels` would return from the header.

    The pixels are decoded only for a PNG file that may name its orientation after them.

    Raises:
        InvalidImage: if `pixels` would raise it, as far as the header shows that.
    """
    with opened(data) as image:
        _check_plane_pixels(image)
        alone = colours is Colours.GREY or (colours is Colours.AS_THEY_ARE and _is_grey_file(image))
        size = image.size if not _is_turned(image, data) else image.size[::-1]
        return 1 if alone else 3, size[1], size[0]


def _is_turned(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Returns whether width and height of a photo are swapped when it is turned upright."""
    if image.format == "TIFF":
        return False  # Pillow reports the size of the upright photo
    # A PNG may name its orientation after its pixels, which Pillow decodes to find out.
    if image.format == "PNG" and not any(one in data for one in _PNG_ORIENTATIONS):
        return False
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE
    except Exception:  # noqa: BLE001 - as in `_turn_upright`
        return False


def _is_grey_file(image: Image.Image) -> bool:
    return image.mode in _GREY or _is_deep(image)


def _check_plane_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PLANE_PIXELS:
        raise InvalidImage(
            f"photo of {width} x {height} pixels is too large for planes: {width * height} in all, "
            f"want at most {MAX_PLANE_PIXELS}",
            width=width,
            height=height,
        )


def _remark(image: ImageFile.ImageFile) -> str:
    """Returns what is lost by conversion to eight bits of grey or RGB; call it before the file is decoded."""
    remarks = []
    if _is_deep(image) or any(";16" in str(tile[3]) for tile in image.tile):
        remarks.append("more than 8 bits a channel brought to 8")
    if image.mode.startswith("P"):
        remarks.append("palette resolved to RGB")
    elif image.mode not in {*_GREY, "RGB", "RGBA", "RGBX"} and not _is_deep(image):
        remarks.append(f"{image.mode} brought to RGB")
    if image.has_transparency_data:
        remarks.append("transparency put on white")
    # The several images in a phone's JPEG show the same view; Pillow calls the format MPO.
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if frames > 1:
        remarks.append(f"the first of {frames} frames")
    return "; ".join(remarks)


def is_grey(image: Image.Image) -> bool:
    """Returns whether every pixel of an RGB image is grey."""
    red, green, blue = image.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def media_type(data: bytes) -> str:
    """Reads the media type, such as "image/png", from the header alone.

    Raises:
        InvalidImage: if the header is not that of an accepted image, or names too many pixels.
    """
    with opened(data) as image:
        name = image.format or ""
        return MEDIA_TYPES[_ALIASES.get(name, name)]


@contextmanager
def opened(data: bytes) -> Iterator[ImageFile.ImageFile]:
    """Opens the file and turns every error of the block into `InvalidImage`."""
    _check_size(data)
    formats = _PILLOWS
    if heif.is_heif(data):
        heif.require()
        formats = (heif.FORMAT,)
    try:
        # Warnings are about metadata that the pixels do not need; sizes are checked below.
        with _pillow, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(mending.without_ballast(data)), formats=formats) as image:
                _check_pixels(image)
                yield image
    except InvalidImage:
        raise
    except Exception as error:  # noqa: BLE001 - decoders fail with whatever the bytes lead them to
        # The cause is dropped: Pillow's messages quote the bytes.
        raise _explain(error) from None


def _shown(data: bytes) -> bytes | None:
    """Returns a digest of a photo's pixels; None if it cannot be decoded."""
    try:
        with opened(data) as image:
            image.load()
            return hashlib.sha256(image.tobytes()).digest()
    except InvalidImage:
        return None


def _check_size(data: bytes) -> None:
    if not data:
        raise InvalidImage(f"photo is empty: 0 bytes, want an image ({_WANTED})")
    if len(data) > MAX_BYTES:
        raise InvalidImage(f"photo is too large: {len(data)} bytes, want at most {MAX_BYTES}")


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InvalidImage(
            f"photo has too many pixels: {width} x {height}, want at most {MAX_PIXELS} in all",
            width=width,
            height=height,
        )
    if width < 1 or height < 1:
        raise InvalidImage(f"photo has no pixels: {width} x {height}, want at least 1 x 1")


def _explain(error: Exception) -> InvalidImage:
    if isinstance(error, Image.DecompressionBombError):
        return InvalidImage(
            f"photo has too many pixels: its header says so, want at most {MAX_PIXELS} in all"
        )
    if isinstance(error, UnidentifiedImageError):
        return InvalidImage(f"photo is not an image that can be read: want a whole file, one of {_WANTED}")
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return InvalidImage("photo is truncated: the data ends inside the picture, want a whole file")
    return InvalidImage(f"photo is damaged: its data cannot be decoded, want a valid file ({_WANTED})")


def _displayed(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    _turn_upright(image)
    return _as_rgb(image)


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # noqa: BLE001 - as above; damaged EXIF says nothing about the orientation
        return


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _as_rgb(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGB", coloured.size, "white")
        white.paste(coloured, mask=coloured)
        return white
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Converts grey of 16 bits, 32 bits or floats to 8 bits; Pillow would clip it at 255.

    Sixteen bits have a defined white. The wider formats have none, so their range is stretched.
    """
    pixels = np.asarray(image)
    sixteen = image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")
    low, high = (0.0, 65535.0) if sixteen else (float(pixels.min()), float(pixels.max()))
    if not math.isfinite(high - low):
        raise InvalidImage("photo is damaged: a pixel is not a finite number, want finite ones")
    # One flat grey has no range; it becomes black instead of a division by zero.
    grey = (pixels.astype(np.float32) - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
