"""What cameras say of photos, against files that Pillow writes, and against bytes that say nothing."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from blindsight.trusted.imaging import exif
from blindsight.wire.metadata import checked

BASE, GPS = ExifTags.Base, ExifTags.GPS
ROME = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (41.0, 53.0, 24.0),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (12.0, 29.0, 32.0),
}


def file(
    base: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    place: dict[int, Any] | None = None,
    format_name: str = "JPEG",
) -> bytes:
    made = Image.Exif()
    made.update(base or {})
    if details:
        made.get_ifd(ExifTags.IFD.Exif).update(details)
    if place:
        made.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    written = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(written, format_name, exif=made)
    return written.getvalue()


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_time_camera_and_place_are_read(format_name: str) -> None:
    base = {BASE.Make: "Canon", BASE.Model: "Canon EOS R5"}
    details = {BASE.DateTimeOriginal: "2024:05:01 14:30:00", BASE.OffsetTimeOriginal: "+02:00"}
    assert exif.read(file(base, details, ROME, format_name)).values == {
        "taken": datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
        "camera": "Canon EOS R5",
        "latitude": 41.89,
        "longitude": 12.4922222,
    }


@pytest.mark.parametrize(
    ("base", "details", "taken"),
    [
        ({}, {BASE.DateTimeOriginal: "2024:05:01 14:30:00"}, datetime(2024, 5, 1, 14, 30, tzinfo=UTC)),
        ({BASE.DateTime: "2020:01:02 03:04:05"}, {}, datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            {BASE.DateTime: "2020:01:02 03:04:05"},
            {BASE.DateTimeOriginal: "0000:00:00 00:00:00"},
            datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
        ),
        (
            {},
            {BASE.DateTimeOriginal: "2024:05:01 14:30:00", BASE.OffsetTimeOriginal: "noon"},
            datetime(2024, 5, 1, 14, 30, tzinfo=UTC),
        ),
        ({BASE.DateTime: "yesterday"}, {}, None),
        ({BASE.DateTime: "    :  :     :  :  "}, {}, None),
    ],
)
def test_a_time_is_the_first_that_is_one(
    base: dict[int, Any], details: dict[int, Any], taken: datetime | None
) -> None:
    assert exif.read(file(base, details)).taken == taken


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("SONY", "ILCE-7M4", "SONY ILCE-7M4"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON CORPORATION NIKON D850"),
        ("Apple\0\0", "iPhone 15", "Apple iPhone 15"),
        ("", "X100V", "X100V"),
        ("  ", " ", ""),
        ("a\x1b[31m", "b\n", "a[31m b"),
        ("M" * 500, "", "M" * 128),
    ],
)
def test_a_camera_is_maker_and_model(make: str, model: str, camera: str) -> None:
    assert exif.read(file({BASE.Make: make, BASE.Model: model})).camera == camera


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_is_none_is_left_out(change: dict[int, Any]) -> None:
    assert exif.read(file(place={**ROME, **change})) == exif.Exif()


def test_the_south_and_the_west_are_negative() -> None:
    found = exif.read(file(place={**ROME, GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}))
    assert (found.latitude, found.longitude) == (-41.89, -12.4922222)


@pytest.mark.parametrize("data", [b"", b"no image", file()[:40], file()])
def test_a_file_that_says_nothing_has_none(data: bytes) -> None:
    assert exif.read(data) == exif.Exif()


WHOLE = file(
    {BASE.Make: "Maker", BASE.Model: "Model", BASE.DateTime: "2020:01:02 03:04:05"},
    {BASE.DateTimeOriginal: "2024:05:01 14:30:00", BASE.OffsetTimeOriginal: "+02:00"},
    ROME,
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=12))
def test_changed_bytes_give_metadata_that_may_be_kept_or_none(changes: list[tuple[int, int]]) -> None:
    changed = bytearray(WHOLE)
    for at, value in changes:
        changed[at] = value
    found = exif.read(bytes(changed)).values
    assert checked(found) == {key: found[key] for key in sorted(found)}
