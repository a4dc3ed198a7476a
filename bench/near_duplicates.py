"""Measures how far apart near duplicates and different scenes are, for the default threshold of `verify`.

    python bench/near_duplicates.py

Scenes are the pictures in scikit-image's wheel: photographs, drawings, and seven faces; every pair of them is
compared, and every scene with altered views of itself.  Distances are 1 - cosine of the embedder's vectors;
under encryption they differ by at most 1.3e-6.  Writes all figures as JSON.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image, ImageEnhance

from blindsight.trusted import embedders
from services.keyholder.operations.verify import PHOTO_DISTANCE

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
sys.path.insert(0, str(ROOT / "demo"))
import views  # noqa: E402

EMBEDDERS = ("descriptor", "pixels")
FACES = 7
_DRAWINGS = (
    "chessboard_GRAY.png",
    "color.png",
    "horse.png",
    "logo.png",
    "phantom.png",
    "no_time_for_that_tiny.gif",
)
_NEAREST = 5

View = Callable[[Image.Image], Image.Image]


def scenes() -> dict[str, Image.Image]:
    """Returns 33 different scenes by name, RGB, at most 640 pixels a side: 528 pairs."""
    found = views.photos()
    folder = Path(skimage.data.__file__).parent
    for name in _DRAWINGS:
        with Image.open(folder / name) as picture:
            made = picture.convert("RGB")
            made.thumbnail((views.LONGEST_SIDE, views.LONGEST_SIDE))
            found[Path(name).stem] = made
    for number, face in enumerate(skimage.data.lfw_subset()[: 100 : 100 // FACES][:FACES]):
        pixels = (face * 255).astype(np.uint8)
        found[f"face-{number}"] = Image.fromarray(pixels).convert("RGB").resize((200, 200))
    return found


def _jpeg(quality: int) -> View:
    def altered(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return altered


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2))


def _brightness(factor: float) -> View:
    return lambda picture: ImageEnhance.Brightness(picture).enhance(factor)


def _crop(share: float) -> View:
    """Cuts a share of width and height off, half of it on each side."""

    def altered(picture: Image.Image) -> Image.Image:
        across, down = round(picture.width * share / 2), round(picture.height * share / 2)
        return picture.crop((across, down, picture.width - across, picture.height - down))

    return altered


def _turn(degrees: float) -> View:
    """Turns a picture, and cuts off the corners that are empty then."""

    def altered(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        sine, lost = math.sin(math.radians(degrees)), 1 - math.cos(math.radians(degrees))
        across = math.ceil(height / 2 * sine + width / 2 * lost) + 1
        down = math.ceil(width / 2 * sine + height / 2 * lost) + 1
        turned = picture.rotate(degrees, Image.Resampling.BICUBIC)
        return turned.crop((across, down, width - across, height - down))

    return altered


VIEWS: Mapping[str, View] = {
    "JPEG of quality 30": _jpeg(30),
    "JPEG of quality 10": _jpeg(10),
    "half as large": _half,
    "1.3 times as bright": _brightness(1.3),
    "0.7 times as bright": _brightness(0.7),
    "cropped by 5 %": _crop(0.05),
    "cropped by 10 %": _crop(0.1),
    "turned by 1 degree": _turn(1),
    "turned by 3 degrees": _turn(3),
    "cropped by 20 %": _crop(0.2),
    "turned by 5 degrees": _turn(5),
}
"""Altered views; `verify` promises all but the last two, of which it may miss some."""

PROMISED = tuple(VIEWS)[:-2]


def measure(embedder: str, pictures: Mapping[str, Image.Image]) -> dict[str, Any]:
    """Compares all pairs of scenes, and each scene with its views."""
    made = embedders.create(embedder)
    vectors = {name: made.embed(picture).astype(np.float64) for name, picture in pictures.items()}
    pairs = sorted(
        (_distance(vectors[one], vectors[other]), one, other)
        for one, other in itertools.combinations(vectors, 2)
    )
    return {
        "pairs": len(pairs),
        "pairs_that_pass": sum(distance <= PHOTO_DISTANCE for distance, _, _ in pairs),
        "nearest_pairs": [{"distance": round(one, 4), "scenes": names} for one, *names in pairs[:_NEAREST]],
        "views": {name: _of_view(view, pictures, vectors, made) for name, view in VIEWS.items()},
    }


def _of_view(
    view: View, pictures: Mapping[str, Image.Image], vectors: Mapping[str, Any], made: Any
) -> dict[str, Any]:
    found = sorted(
        (_distance(made.embed(view(picture)), vectors[name]), name) for name, picture in pictures.items()
    )
    distances = [distance for distance, _ in found]
    return {
        "pass": sum(distance <= PHOTO_DISTANCE for distance in distances),
        "of": len(distances),
        "median_distance": round(float(np.median(distances)), 4),
        "largest_distance": round(distances[-1], 4),
        "of_scene": found[-1][1],
    }


def _distance(one: Any, other: Any) -> float:
    return 1 - float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def main() -> None:
    """Measures both embedders, and writes and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "near-duplicates.json")
    options = parser.parse_args()
    pictures = scenes()
    document = {
        "benchmark": "near-duplicates",
        "threshold": PHOTO_DISTANCE,
        "scenes": sorted(pictures),
        "embedders": {name: measure(name, pictures) for name in EMBEDDERS},
    }
    # Not at the head: tests import this file, and the folder of the scripts is not on their path.
    from written import write_document

    write_document(options.out, document)
    for name, figures in document["embedders"].items():
        nearest = figures["nearest_pairs"][0]
        print(f"{name}: {figures['pairs_that_pass']} of {figures['pairs']} pairs pass; nearest {nearest}")
        for view, told in figures["views"].items():
            print(f"  {view:<20} {told['pass']} of {told['of']}, at most {told['largest_distance']:.3f}")


if __name__ == "__main__":
    main()
