"""The photos to compare, as RGB of 64 x 64 pixels: given ones, altered ones if too few, and the queries.

Pixels are made of a file as the embedder `pixels` does it: the photo with its orientation applied,
transparency on white, RGB, resized to 64 x 64 by area averages (Pillow's BOX).  Each is sent to the services
as a PNG of that size, which the embedder uses without resizing, so every scheme sees the same numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from blindsight.cli import pixels
from blindsight.client import inputs
from blindsight.client.sources import Source
from blindsight.errors import BlindsightError, InvalidArgument

SIDE = 64
CHANNELS = 3
# Altered photos are made from copies of this size, so that a crop still has at least 64 pixels a side.
_COPY_SIDE = 160
_MOST_COPIES = 512

Pixels = npt.NDArray[np.uint8]
"""Photos as [n, 3, 4096], or one as [3, 4096]: red, green and blue, row after row."""

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The photos to store.

    Attributes:
        pixels: [n, 3, 4096], no two the same.
        originals: number of given photos, which come first; the others were made by altering them.
        skipped: number of files that are hidden, no photos, repeat another, or have a channel of zeros only.
    """

    pixels: Pixels
    originals: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A query photo.

    Attributes:
        name: how it was made from a gallery photo.
        image: row of that photo.
        pixels: [3, 4096].
    """

    name: str
    image: int
    pixels: Pixels


@dataclass(slots=True)
class _Collected:
    """The photos collected so far, no two the same."""

    pixels: dict[bytes, Pixels] = field(default_factory=dict)
    copies: list[Image.Image] = field(default_factory=list)
    skipped: int = 0

    def add(self, image: Image.Image) -> bool:
        """Adds a photo; returns false if it is there already, or has a channel of zeros: no direction."""
        small = reduce(image)
        if not small.any(axis=1).all() or small.tobytes() in self.pixels:
            return False
        self.pixels[small.tobytes()] = small
        return True


def gather(paths: Sequence[str], wanted: int, report: Report) -> Gallery:
    """Collects the first `wanted` photos of files, folders and globs; makes missing ones by altering them.

    Raises:
        InvalidArgument: if a path does not exist, none is a photo, or too few different ones can be made.
    """
    sieve = inputs.Sieve(any=True)
    sources = list(inputs.expand(list(paths), sieve)[0])
    collected = _Collected(skipped=sieve.hidden)
    for source in sources:
        if len(collected.pixels) == wanted:
            break
        image = _opened(source)
        if image is None or not collected.add(image):
            collected.skipped += 1
        elif len(collected.copies) < _MOST_COPIES:
            image.thumbnail((_COPY_SIDE, _COPY_SIDE))
            collected.copies.append(image)
        report(len(collected.pixels))
    originals = len(collected.pixels)
    if not originals:
        raise InvalidArgument("none of the files is a photo with three colours; want at least one")
    for changed in islice(_altered(collected.copies), 100 * wanted):
        if len(collected.pixels) == wanted:
            break
        collected.add(changed)
        report(len(collected.pixels))
    if len(collected.pixels) < wanted:
        raise InvalidArgument(f"the photos are too plain to make {wanted} different ones of them")
    return Gallery(np.stack(list(collected.pixels.values())), originals, collected.skipped)


def queries(gallery: Gallery) -> list[Asked]:
    """Returns three queries, made from different originals if there are enough."""
    same, touched, mirrored = (row * gallery.originals // 3 for row in range(3))
    return [
        Asked("the same photo", same, gallery.pixels[same]),
        Asked("one pixel changed", touched, one_pixel_changed(gallery.pixels[touched])),
        Asked("mirrored", mirrored, mirror(gallery.pixels[mirrored])),
    ]


def one_pixel_changed(photo: Pixels) -> Pixels:
    """Returns a photo with the middle pixel one level brighter in each channel; 255 becomes 254."""
    changed = photo.copy()
    middle = changed[:, (SIDE + 1) * SIDE // 2]
    changed[:, (SIDE + 1) * SIDE // 2] = np.where(middle == 255, 254, middle + 1)
    return changed


def mirror(photo: Pixels) -> Pixels:
    """Returns a photo mirrored left to right."""
    return photo.reshape(CHANNELS, SIDE, SIDE)[:, :, ::-1].reshape(CHANNELS, -1)


def reduce(image: Image.Image) -> Pixels:
    """Reduces a photo to [3, 4096]; one of 64 x 64 keeps its pixels."""
    small = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(small).reshape(-1, CHANNELS).T)


def picture(photo: Pixels) -> npt.NDArray[np.uint8]:
    """Returns a photo as an image array [64, 64, 3]."""
    return np.ascontiguousarray(photo.T.reshape(SIDE, SIDE, CHANNELS))


def png(photo: Pixels) -> bytes:
    """Encodes a photo as PNG."""
    encoded = io.BytesIO()
    Image.fromarray(picture(photo)).save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _opened(source: Source) -> Image.Image | None:
    """Opens a photo as RGB with its orientation applied; returns None if it is not a photo."""
    try:
        with Image.open(io.BytesIO(source.load())) as image:
            image.draft("RGB", (2 * _COPY_SIDE, 2 * _COPY_SIDE))
            return pixels.upright(image)
    except (BlindsightError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _altered(copies: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """Yields altered photos without end, reproducibly: each round alters every photo in another way."""
    for turn in count():
        for place, copy in enumerate(copies):
            # Crops and noise are large enough for the plaintext comparison to tell the copies apart.
            change = _CHANGES[(turn + place) % len(_CHANGES)]
            yield change(copy, np.random.default_rng([turn, place]))


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.6, 0.9)
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def _mirrored_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(_cropped(image, rng))


def _lighter_or_darker(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    contrast = ImageEnhance.Contrast(image).enhance(rng.uniform(0.5, 0.8))
    return ImageEnhance.Brightness(contrast).enhance(rng.uniform(0.6, 1.4))


def _noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    # Noise is added at the final size: resizing would average it out.
    values = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    noisy = values + rng.normal(0, rng.uniform(10, 30), values.shape)
    return Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))


_CHANGES = (_cropped, _lighter_or_darker, _mirrored_crop, _noisy)
