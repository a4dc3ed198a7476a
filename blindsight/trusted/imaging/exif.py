"""What a camera said of a photo: its time, the camera, the place.

Whatever is not as the standard wants it (CIPA DC-008, EXIF 2.32) is left out: a photo is kept all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL import ExifTags

from blindsight.errors import InvalidImage
from blindsight.trusted.imaging.images import opened
from blindsight.wire.metadata import Value

MOST_CAMERA_CHARACTERS = 128
_TIME = "%Y:%m:%d %H:%M:%S"
_GPS = ExifTags.GPS


@dataclass(frozen=True, slots=True)
class Exif:
    """What a camera said of a photo; None or empty where it said nothing.

    Attributes:
        taken: the time; one without its offset counts as UTC.
        camera: maker and model.
        latitude, longitude: in degrees, north and east positive.
    """

    taken: datetime | None = None
    camera: str = ""
    latitude: float | None = None
    longitude: float | None = None

    @property
    def values(self) -> dict[str, Value]:
        """What was said, as metadata."""
        said = {name: getattr(self, name) for name in ("taken", "camera", "latitude", "longitude")}
        return {name: value for name, value in said.items() if value is not None and value != ""}


def read(data: bytes) -> Exif:
    """Returns what a photo's EXIF says; nothing of a file without any."""
    with suppress(InvalidImage), opened(data) as image:
        said = image.getexif()
        taken = _time(said, said.get_ifd(ExifTags.IFD.Exif))
        return Exif(taken, _camera(said), *_place(said.get_ifd(ExifTags.IFD.GPSInfo)))
    return Exif()


def _time(said: Mapping[int, Any], details: Mapping[int, Any]) -> datetime | None:
    base = ExifTags.Base
    for text, offset in (
        (details.get(base.DateTimeOriginal), details.get(base.OffsetTimeOriginal)),
        (details.get(base.DateTimeDigitized), details.get(base.OffsetTimeDigitized)),
        (said.get(base.DateTime), details.get(base.OffsetTime)),
    ):
        with suppress(ValueError, OverflowError):
            if isinstance(offset, str) and isinstance(text, str):
                return datetime.strptime(f"{_word(text)} {_word(offset)}", f"{_TIME} %z").astimezone(UTC)
        with suppress(ValueError):
            if isinstance(text, str):
                return datetime.strptime(_word(text), _TIME).replace(tzinfo=UTC)
    return None


def _camera(said: Mapping[int, Any]) -> str:
    make, model = (_word(said.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    # Most makers begin the model with their name.
    whole = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return whole.strip()[:MOST_CAMERA_CHARACTERS]


def _place(said: Mapping[int, Any]) -> tuple[float | None, float | None]:
    latitude = _degrees(said.get(_GPS.GPSLatitude), said.get(_GPS.GPSLatitudeRef), "NS", 90.0)
    longitude = _degrees(said.get(_GPS.GPSLongitude), said.get(_GPS.GPSLongitudeRef), "EW", 180.0)
    # Cameras that know no place may write zeros.
    known = None not in (latitude, longitude) and (latitude, longitude) != (0.0, 0.0)
    return (latitude, longitude) if known else (None, None)


def _degrees(parts: Any, side: Any, sides: str, most: float) -> float | None:
    try:
        degrees, minutes, seconds = map(float, parts)
        value = degrees + minutes / 60 + seconds / 3600
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not math.isfinite(value) or not 0 <= value <= most or _word(side) not in tuple(sides):
        return None
    return round(-value if _word(side) == sides[1] else value, 7)


def _word(value: Any) -> str:
    """Returns a text without what ends or fills it, and nothing that does not print."""
    text = value if isinstance(value, str) else ""
    return "".join(one for one in text.partition("\0")[0] if one.isprintable()).strip()
