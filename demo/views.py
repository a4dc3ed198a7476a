"""Views of scikit-image's bundled photos: a gallery and unseen queries, the same on every run.

A view is a near-duplicate of a photo: cropped, mirrored, brightened, blurred, rotated or compressed more.
Every view has the name of its photo, so retrieval can be scored without a label file. Only the photos in the
scikit-image wheel are used; nothing is downloaded.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import skimage.data
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

LONGEST_SIDE = 640
"""Photos are shrunk to this many pixels before views are made of them."""

Change = Callable[[Image.Image, Random], Image.Image]


@dataclass(frozen=True, slots=True)
class View:
    """One picture file and the photo that it shows."""

    name: str
    photo: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Recipe:
    """A kind of view: how many a gallery has of each photo, and the changes that make one."""

    kind: str
    count: int
    changes: tuple[Change, ...]
    quality: tuple[int, int] = (85, 95)


def photos() -> dict[str, Image.Image]:
    """Returns the photos by name, RGB. The halves of the deep field are two photos: they share no star."""
    found = {name: _as_picture(getattr(skimage.data, loader)()) for name, loader in _LOADERS.items()}
    found["motorcycle"] = _as_picture(_motorcycle_pair()[0])
    field = skimage.data.hubble_deep_field()
    middle = field.shape[1] // 2
    found["hubble-west"] = _as_picture(field[:, :middle])
    found["hubble-east"] = _as_picture(field[:, middle:])
    return dict(sorted(found.items()))


def gallery() -> Iterator[View]:
    """Yields at least 400 views, at least 20 of every photo, the unchanged photo among them."""
    for name, photo in photos().items():
        yield View(f"{name}.png", name, _encode(photo, "PNG"))
        for recipe in _GALLERY:
            yield from _views(name, photo, recipe, "gallery")


def queries() -> Iterator[View]:
    """Yields at least 40 views that are not in the gallery, with two or more random changes each.

    The order is: every photo with one recipe, then with the next; last, the motorcycle as seen by the other
    camera of the stereo pair.
    """
    found = photos()
    for recipe in _QUERIES:
        for name, photo in found.items():
            yield from _views(name, photo, recipe, "query")
    other_camera = _as_picture(_motorcycle_pair()[1])
    yield View("motorcycle-other-camera.jpg", "motorcycle", _encode(other_camera, "JPEG", 90))


def _views(name: str, photo: Image.Image, recipe: Recipe, purpose: str) -> Iterator[View]:
    for number in range(1, recipe.count + 1):
        # A random generator for each view: adding a recipe does not change other views.
        random = Random(f"{purpose}/{name}/{recipe.kind}/{number}")
        picture = photo
        for change in recipe.changes:
            picture = change(picture, random)
        quality = random.randint(*recipe.quality)
        yield View(f"{name}-{recipe.kind}-{number}.jpg", name, _encode(picture, "JPEG", quality))


def _crop(picture: Image.Image, random: Random) -> Image.Image:
    """Crops to a random window of 60 to 90 % of the area."""
    scale = math.sqrt(random.uniform(0.6, 0.9))
    width, height = round(picture.width * scale), round(picture.height * scale)
    left, top = random.randint(0, picture.width - width), random.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def _mirror(picture: Image.Image, _random: Random) -> Image.Image:
    return ImageOps.mirror(picture)


def _brightness(picture: Image.Image, random: Random) -> Image.Image:
    factor = random.choice([random.uniform(0.65, 0.85), random.uniform(1.15, 1.35)])
    return ImageEnhance.Brightness(picture).enhance(factor)


def _contrast(picture: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(random.choice([random.uniform(0.65, 0.85), 1.3]))


def _blur(picture: Image.Image, random: Random) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(1.0, 2.0)))


def _rotation(picture: Image.Image, random: Random) -> Image.Image:
    """Rotates by 2 to 5 degrees, and crops to the part without empty corners."""
    degrees = random.choice([-1, 1]) * random.uniform(2.0, 5.0)
    lean = math.tan(math.radians(abs(degrees)))
    across, down = math.ceil(picture.height * lean / 2), math.ceil(picture.width * lean / 2)
    turned = picture.rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((across, down, picture.width - across, picture.height - down))


def _as_picture(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture


def _motorcycle_pair() -> tuple[np.ndarray, np.ndarray]:
    left, right, _disparity = skimage.data.stereo_motorcycle()
    return left, right


def _encode(picture: Image.Image, kind: str, quality: int = 0) -> bytes:
    file = io.BytesIO()
    if kind == "PNG":
        picture.save(file, kind, compress_level=1)
    else:
        picture.save(file, kind, quality=quality)
    return file.getvalue()


_LOADERS = {
    "astronaut": "astronaut",
    "brick": "brick",
    "camera": "camera",
    "cell": "cell",
    "chelsea": "chelsea",
    "clock": "clock",
    "coffee": "coffee",
    "coins": "coins",
    "grass": "grass",
    "gravel": "gravel",
    "microaneurysms": "microaneurysms",
    "moon": "moon",
    "page": "page",
    "retina": "retina",
    "rocket": "rocket",
    "text": "text",
    "tissue": "immunohistochemistry",
}
"""The name of a photo and its loader in `skimage.data`. Drawings and test charts are left out."""

_GALLERY = (
    Recipe("mirror", 1, (_mirror,)),
    Recipe("crop", 6, (_crop,)),
    Recipe("mirror-crop", 2, (_mirror, _crop)),
    Recipe("brightness", 3, (_brightness,)),
    Recipe("contrast", 2, (_contrast,)),
    Recipe("blur", 2, (_blur,)),
    Recipe("jpeg", 2, (), (20, 40)),
    Recipe("rotation", 3, (_rotation,)),
)

_QUERIES = (
    Recipe("relit", 1, (_crop, _brightness)),
    Recipe("flipped", 1, (_mirror, _crop), (20, 30)),
    Recipe("tilted", 1, (_rotation, _contrast, _blur)),
)
