"""Photos of which a vault must make something, or keep them although it can make nothing."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin
from pillow_heif import from_pillow

from support.photos import bomb, encoded, jpeg, photo

PHOTO = photo("coins", 160)
EMBEDDERS = {"descriptor": {}, "pixels": {}, "channels": {"channels": "rgb", "size": 16}, "sift": {}}
"""Settings of collections of every kind that takes photos."""


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    made = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", made)


def png_with(*chunks: bytes, picture: Image.Image = PHOTO) -> bytes:
    """A PNG with chunks behind its header."""
    data = encoded(picture, "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def heic(picture: Image.Image = PHOTO, **options: object) -> bytes:
    """A HEIC file."""
    import io

    made = io.BytesIO()
    from_pillow(picture).save(made, **options)
    return made.getvalue()


def deep(picture: Image.Image = PHOTO) -> Image.Image:
    """Grey of 16 bits."""
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def transparent(picture: Image.Image = PHOTO) -> Image.Image:
    """The picture, of which the left half cannot be seen."""
    made = picture.convert("RGBA")
    alpha = Image.new("L", made.size, 255)
    alpha.paste(0, (0, 0, made.width // 2, made.height))
    made.putalpha(alpha)
    return made


def _texts() -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    made.add_text("Comment", "words " * 400_000, zip=True)
    return made


NOISE = np.random.default_rng(3).integers(0, 256, (3, 3, 3), np.uint8)
PROFILE = b"an ICC profile\0\0" + zlib.compress(bytes(3_000_000))


@dataclass(frozen=True)
class Oddity:
    """A file, and the kinds of collections whose searches cannot find it."""

    name: str
    data: bytes
    undescribed: frozenset[str] = frozenset()


ALL, SIFT = frozenset(EMBEDDERS), frozenset({"sift"})
ODDITIES = (
    Oddity("cmyk.jpg", encoded(PHOTO.convert("CMYK"))),
    Oddity("deep.png", encoded(deep(), "PNG")),
    Oddity("deep.pgm", encoded(deep(), "PPM")),
    Oddity("palette.png", encoded(transparent().quantize(32), "PNG")),
    Oddity("clear.png", encoded(transparent(), "PNG")),
    Oddity("clear grey.png", encoded(transparent().convert("LA"), "PNG")),
    Oddity("without end.jpg", jpeg("coffee")[:-2]),
    Oddity("wrong checksum.png", png_with(chunk(b"tIME", bytes(7), checksum=1))),
    Oddity("texts.png", encoded(PHOTO, "PNG", pnginfo=_texts())),
    Oddity("profile.png", png_with(chunk(b"iCCP", PROFILE))),
    Oddity("photo.heic", heic()),
    Oddity("photo.jp2", encoded(PHOTO, "JPEG2000")),
    Oddity("flat.png", encoded(Image.new("RGB", (64, 64), "red"), "PNG"), ALL - {"channels"}),
    Oddity("tiny.png", encoded(Image.fromarray(NOISE), "PNG"), SIFT),
    Oddity("gradient.png", encoded(Image.linear_gradient("L"), "PNG"), SIFT),
    Oddity("half.jpg", jpeg("rocket")[: len(jpeg("rocket")) // 2], ALL),
    Oddity("bomb.png", bomb(), ALL),
    Oddity("no image.jpg", b"Dear diary, this is no photo.", ALL),
)
