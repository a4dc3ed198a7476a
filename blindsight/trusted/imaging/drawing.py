"""Drawings of keypoints and of matches, for display."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from blindsight.trusted.imaging import opencv
from blindsight.trusted.imaging.matching import Matches
from blindsight.trusted.imaging.sift import Features

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.floating[Any]]
Colour = tuple[int, int, int]

_GROUND: Colour = (20, 23, 28)
_INK: Colour = (228, 231, 235)
_FAINT: Colour = (150, 158, 168)
_OUTLINE: Colour = (255, 255, 255)
# Longest side of a drawing: small images are enlarged, so that lines are thin beside what they connect.
_LONGEST_SIDE = 1000
_GAP = 16
_STRIP = 44
# Images are dimmed, so that lines stand out.
_DIMMED = 0.72
_FAINTNESS = 0.25
# Fractional bits of the coordinates that OpenCV draws at.
_SHIFT = 4


def draw_matches(
    first: Picture, second: Picture, features: tuple[Features, Features], matches: Matches
) -> Image.Image:
    """Draws two images side by side: inliers in colour, outliers faint, the first's outline in the second.

    Args:
        first, second: uint8 [height, width] or [height, width, 3].
        features: the features of both.

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    cv2 = opencv.load()
    scale = _scale([first, second])
    canvas, corners = _beside([_prepared(picture, scale) for picture in (first, second)])
    starts = features[0].places[matches.pairs[:, 0]] * scale + corners[0]
    ends = features[1].places[matches.pairs[:, 1]] * scale + corners[1]
    inliers = matches.inliers
    colours = _colours(starts)
    others = [_FAINT] * (len(matches) - matches.inlier_count)
    _lines(cv2, canvas, starts[~inliers], ends[~inliers], others, _FAINTNESS)
    if matches.homography is not None and matches.verified:
        outline = _outline_of(first, matches.homography) * scale
        _outline(cv2, _part(canvas, corners[1], second, scale), outline)
    chosen = [colour for colour, inlier in zip(colours, inliers, strict=True) if inlier]
    _lines(cv2, canvas, starts[inliers], ends[inliers], chosen, _opacity(len(chosen)))
    for points in (starts[inliers], ends[inliers]):
        _dots(cv2, canvas, points, chosen)
    agreeing = f"{matches.inlier_count} of {len(matches)} matches agree on one view"
    return _captioned(canvas, agreeing if len(matches) else "no matches")


def draw_keypoints(picture: Picture, features: Features) -> Image.Image:
    """Draws an image with its keypoints: circles that grow with their scale, with a line in their direction.

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    cv2 = opencv.load()
    scale = _scale([picture])
    canvas = _prepared(picture, scale)
    # Radii of twice the blur: the region that is described is larger still, and would hide the image.
    radii = np.maximum(2.0 * features.scales * scale, 2.0)
    centres = features.places * scale
    hands = centres + radii[:, None] * np.column_stack([np.cos(features.angles), np.sin(features.angles)])
    for centre, radius, hand, colour in zip(
        centres, radii, hands, _hues(features.angles / (2 * math.pi)), strict=True
    ):
        cv2.circle(canvas, _fixed(centre), round(radius * 2**_SHIFT), colour, 1, cv2.LINE_AA, _SHIFT)
        cv2.line(canvas, _fixed(centre), _fixed(hand), colour, 1, cv2.LINE_AA, _SHIFT)
    return _captioned(canvas, f"{len(features)} keypoints")


def jpeg(picture: Image.Image) -> bytes:
    """Encodes an image as a JPEG file, for display."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _scale(pictures: Sequence[Picture]) -> float:
    """Returns one scale for all images, so that lines show how they differ in size."""
    longest: int = max(side for picture in pictures for side in picture.shape[:2])
    return _LONGEST_SIDE / longest


def _size(picture: Picture, scale: float) -> tuple[int, int]:
    """Returns an image's height and width in pixels of the canvas."""
    return max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))


def _prepared(picture: Picture, scale: float) -> Picture:
    height, width = _size(picture, scale)
    image = Image.fromarray(picture).convert("RGB")
    resized = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    return np.rint(resized * _DIMMED).astype(np.uint8)


def _beside(pictures: Sequence[Picture]) -> tuple[Picture, list[Points]]:
    """Returns one canvas with all images, and the upper left corner of each: x and y."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + _GAP
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = _GROUND
    corners: list[Points] = []
    left = 0
    for picture in pictures:
        top = (height - picture.shape[0]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        corners.append(np.array([left, top], np.float64))
        left += picture.shape[1] + _GAP
    return canvas, corners


def _colours(places: Points) -> list[Colour]:
    """Returns colours that are similar for neighbours, so that a line which crosses its neighbours shows."""
    if not len(places):
        return []
    x, y = (places - places.mean(axis=0)).T
    return _hues(0.5 + np.arctan2(y, x) / (2 * math.pi))


def _opacity(lines: int) -> float:
    """Returns the opacity of each line: the image must remain visible behind many."""
    return min(0.9, max(0.3, 5 / math.sqrt(max(lines, 1))))


def _hues(turns: Points) -> list[Colour]:
    """Returns bright colours of hues around the colour circle."""
    made = []
    for turn in turns:
        red, green, blue = colorsys.hsv_to_rgb(float(turn) % 1.0, 0.65, 1.0)
        made.append((round(255 * red), round(255 * green), round(255 * blue)))
    return made


def _lines(
    cv2: Any, canvas: Picture, starts: Points, ends: Points, colours: Sequence[Colour], opacity: float
) -> None:
    above = canvas.copy()
    for start, end, colour in zip(starts, ends, colours, strict=True):
        cv2.line(above, _fixed(start), _fixed(end), colour, 1, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(above, opacity, canvas, 1 - opacity, 0, dst=canvas)


def _dots(cv2: Any, canvas: Picture, points: Points, colours: Sequence[Colour]) -> None:
    for point, colour in zip(points, colours, strict=True):
        cv2.circle(canvas, _fixed(point), 3 << _SHIFT, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _outline_of(picture: Picture, homography: Points) -> Points:
    """Maps an image's corners by a homography: [4, 2], or [0, 2] if one of them is behind the camera."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]])
    seen = corners @ homography.T
    if (seen[:, 2] * seen[0, 2] <= 0).any():
        return np.zeros((0, 2))
    outline: Points = seen[:, :2] / seen[:, 2:]
    return outline


def _part(canvas: Picture, corner: Points, picture: Picture, scale: float) -> Picture:
    """Returns the view of a canvas that shows an image."""
    left, top = (round(float(value)) for value in corner)
    height, width = _size(picture, scale)
    return canvas[top : top + height, left : left + width]


def _outline(cv2: Any, view: Picture, outline: Points) -> None:
    """Draws the first image's outline into the view of the second, and nothing outside it."""
    polygon = np.clip(np.rint(outline * 2**_SHIFT), -(2**26), 2**26).astype(np.int32)
    drawn = np.ascontiguousarray(view)
    cv2.polylines(drawn, [polygon], True, _OUTLINE, 2, cv2.LINE_AA, _SHIFT)
    view[:] = drawn


def _fixed(point: Points) -> tuple[int, int]:
    return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)


def _captioned(canvas: Picture, text: str) -> Image.Image:
    height, width = canvas.shape[:2]
    image = Image.new("RGB", (width, height + _STRIP), _GROUND)
    image.paste(Image.fromarray(canvas), (0, 0))
    pen = ImageDraw.Draw(image)
    pen.text((_GAP, height + _STRIP // 2), text, _INK, ImageFont.load_default(20), anchor="lm")
    return image
