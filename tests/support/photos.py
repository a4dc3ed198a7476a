"""Real photos, and files that only pretend."""

from __future__ import annotations

import hashlib
import io
import zlib
from functools import cache

import numpy as np
from PIL import Image
from skimage import data

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb

NAMES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "camera",
    "coins",
    "motorcycle_left",
    "hubble_deep_field",
)


@cache
def photo(name: str, size: int = 320) -> Image.Image:
    """A bundled photo, reduced to at most `size` pixels a side."""
    source = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    image = Image.fromarray(source).convert("RGB")
    image.thumbnail((size, size))
    return image


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@cache
def jpeg(name: str) -> bytes:
    """A bundled photo as a JPEG file."""
    return encoded(photo(name), quality=90)


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in its header and nothing behind it."""
    small = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    small[16:24] = (50_000).to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


def many(count: int, size: int = 96) -> list[tuple[str, bytes]]:
    """Small photos that all differ, with names of their own."""
    made = []
    for number in range(count):
        image = photo(NAMES[number % len(NAMES)], size).rotate(number % 360, expand=True)
        image.putpixel((0, 0), (number % 256, number // 256, 77))
        made.append((f"canary-name-{number:04}.png", encoded(image, "PNG", compress_level=1)))
    return made


def small_photo(seed: int) -> bytes:
    """A picture of coloured squares, of which no two seeds have the same."""
    squares = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return encoded(Image.fromarray(squares).resize((48, 48), Image.Resampling.NEAREST), "PNG")


def ingested(content: bytes) -> tuple[pb.IngestRequest, pb.IngestRequest]:
    """The messages of an ingest stream that bring one file."""
    header = pb.FileHeader(size_bytes=len(content), sha256=hashlib.sha256(content).digest())
    return pb.IngestRequest(file=header), pb.IngestRequest(chunk=content)
