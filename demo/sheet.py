"""Pictures of the demo's results, drawn with Pillow and its default font."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Corner = tuple[int, int]
"""Left and top of something drawn, in pixels of the page."""

PAPER = "#fbfaf7"
INK = "#22252b"
FAINT = "#7d838d"
LINE = "#dfdcd4"
MAT = "#f1efe9"
HIT = "#1f9d55"
MISS = "#d64545"
BYTES = "#3b6ea8"

MARGIN = 36
ROWS_PER_PAGE = 24


@dataclass(frozen=True, slots=True)
class Match:
    """One answer of a search: the stored picture, its score, and whether it shows the query's photo."""

    name: str
    data: bytes
    score: float
    hit: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its answers, best first."""

    name: str
    data: bytes
    matches: Sequence[Match]


def contact_sheet(rows: Sequence[Row], path: Path, title: str = "Found without being seen") -> list[Path]:
    """Draws every query with its top five, hits framed green and misses red.

    More than `ROWS_PER_PAGE` rows are spread evenly over several pages: "sheet.png", "sheet-2.png", ...

    Returns:
        The pages, in order.
    """
    pages = max(1, math.ceil(len(rows) / ROWS_PER_PAGE))
    per_page = max(1, math.ceil(len(rows) / pages))
    written = []
    for number in range(1, pages + 1):
        page_path = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        page_title = title if pages == 1 else f"{title}  ({number} of {pages})"
        page = _page(rows[(number - 1) * per_page : number * per_page], page_title, _summary(rows))
        page.save(page_path)
        written.append(page_path)
    return written


def what_the_server_holds(original: bytes, stored: bytes, path: Path) -> None:
    """Draws a photo beside the bytes that the untrusted zone stores for it, each above its histogram.

    Args:
        original: the photo's file.
        stored: ciphertext or sealed bytes as stored; each byte is drawn as a grey dot.
        path: the PNG file to write.
    """
    photo = ImageOps.exif_transpose(Image.open(io.BytesIO(original))).convert("RGB")
    values = np.frombuffer(stored, dtype=np.uint8)
    width, height = 2 * _PANEL + 3 * MARGIN, _PANEL + _CHART + 252
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 28), "What the server holds", INK, _font(30))
    draw.text(
        (MARGIN, 68), "One photo, on its owner's side and on the machine that stores it", FAINT, _font(16)
    )
    left, right, top = MARGIN, 2 * MARGIN + _PANEL, 110
    noise, drawn = _as_noise(values)
    _panel(page, (left, top), photo, "The owner sees", f"{photo.width} x {photo.height} pixels")
    _panel(page, (right, top), noise, "The server holds", f"{drawn:,} of {len(stored):,} bytes, a dot each")
    below = top + _PANEL + 66
    _histogram(page, (left, below), np.asarray(photo.convert("L")).ravel(), "Grey levels of the photo", INK)
    _histogram(page, (right, below), values, "Values of the stored bytes", BYTES)
    page.save(path)


_THUMB = 116
_CELL = _THUMB + 16
_ROW = _THUMB + 50
_ANSWERS = 5
# Gap in pixels between the query and its answers.
_GAP = 22
_GROUP = (_ANSWERS + 1) * _CELL + _GAP
_HEAD = 132

_PANEL = 440
_CHART = 96


def _page(rows: Sequence[Row], title: str, summary: str) -> Image.Image:
    columns = 1 if len(rows) <= 6 else 2
    per_column = math.ceil(len(rows) / columns)
    width = columns * _GROUP + (columns + 1) * MARGIN
    page = Image.new("RGB", (width, _HEAD + per_column * _ROW + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 26), title, INK, _font(30))
    draw.text((MARGIN, 66), summary, FAINT, _font(16))
    for column in range(columns):
        left = MARGIN + column * (_GROUP + MARGIN)
        _column_heads(draw, left)
        for place, row in enumerate(rows[column * per_column : (column + 1) * per_column]):
            _draw_row(page, row, left, _HEAD + place * _ROW)
    return page


def _column_heads(draw: ImageDraw.ImageDraw, left: int) -> None:
    heads = ["query, never stored", "1st", "2nd", "3rd", "4th", "5th"]
    for place, head in enumerate(heads):
        draw.text((_cell_left(left, place) + _THUMB // 2, _HEAD - 24), head, FAINT, _font(13), anchor="mm")
    draw.line((left, _HEAD - 10, left + _GROUP - 16, _HEAD - 10), LINE)


def _draw_row(page: Image.Image, row: Row, left: int, top: int) -> None:
    draw = ImageDraw.Draw(page)
    _thumbnail(page, row.data, (left, top), LINE)
    _caption(draw, (left, top + _THUMB + 6), row.name, "", INK)
    for place, match in enumerate(row.matches[:_ANSWERS], start=1):
        corner = (_cell_left(left, place), top)
        colour = HIT if match.hit else MISS
        _thumbnail(page, match.data, corner, colour)
        page.paste(*_badge(match.hit, (corner[0] + _THUMB - 20, corner[1] - 6)))
        _caption(draw, (corner[0], top + _THUMB + 6), match.name, f"{match.score:.3f}", colour)


def _cell_left(left: int, place: int) -> int:
    return left + place * _CELL + (_GAP if place else 0)


def _thumbnail(page: Image.Image, data: bytes, corner: Corner, border: str) -> None:
    """Draws the whole picture inside a square frame."""
    left, top = corner
    draw = ImageDraw.Draw(page)
    draw.rectangle((left - 3, top - 3, left + _THUMB + 2, top + _THUMB + 2), border)
    draw.rectangle((left, top, left + _THUMB - 1, top + _THUMB - 1), MAT)
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((_THUMB, _THUMB), Image.Resampling.LANCZOS)
        small = image.convert("RGB")
    page.paste(small, (left + (_THUMB - small.width) // 2, top + (_THUMB - small.height) // 2))


def _caption(draw: ImageDraw.ImageDraw, at: Corner, name: str, score: str, colour: str) -> None:
    left, top = at
    if score:
        draw.text((left, top), score, colour, _font(14))
        top += 17
    draw.text((left, top), _fit(draw, name.rsplit(".", 1)[0], _THUMB + 6), FAINT if score else INK, _font(11))


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    if draw.textlength(text, _font(11)) <= width:
        return text
    while text and draw.textlength(f"{text}...", _font(11)) > width:
        text = text[:-1]
    return f"{text}..."


def _badge(hit: bool, corner: Corner) -> tuple[Image.Image, Corner, Image.Image]:
    """Returns a check mark or a cross in a disc, drawn large and scaled down for smooth edges."""
    large = Image.new("L", (104, 104), 0)
    ImageDraw.Draw(large).ellipse((0, 0, 103, 103), 255)
    disc = Image.new("RGB", large.size, HIT if hit else MISS)
    sign = ImageDraw.Draw(disc)
    strokes = [[(28, 54), (46, 72), (78, 34)]] if hit else [[(34, 34), (70, 70)], [(70, 34), (34, 70)]]
    for stroke in strokes:
        sign.line(stroke, "white", 13, joint="curve")
    size = (26, 26)
    return disc.resize(size, Image.Resampling.LANCZOS), corner, large.resize(size, Image.Resampling.LANCZOS)


def _summary(rows: Sequence[Row]) -> str:
    first = sum(bool(row.matches) and row.matches[0].hit for row in rows)
    among = sum(any(match.hit for match in row.matches[:_ANSWERS]) for row in rows)
    return f"Unseen views: {len(rows)}.  Right at the first answer: {first}.  Right among five: {among}."


def _panel(page: Image.Image, corner: Corner, picture: Image.Image, head: str, detail: str) -> None:
    left, top = corner
    draw = ImageDraw.Draw(page)
    draw.text((left, top), head, INK, _font(20))
    draw.text((left + _PANEL, top + 5), detail, FAINT, _font(14), anchor="ra")
    frame = top + 34
    draw.rectangle((left, frame, left + _PANEL - 1, frame + _PANEL - 1), MAT, LINE)
    inside = _PANEL - 8
    shown = picture if max(picture.size) == inside else ImageOps.contain(picture, (inside, inside))
    page.paste(shown, (left + (_PANEL - shown.width) // 2, frame + (_PANEL - shown.height) // 2))


def _as_noise(values: np.ndarray) -> tuple[Image.Image, int]:
    """Draws the bytes that fill a square as dots, larger ones if there are few; returns their number too."""
    inside = _PANEL - 8
    side = min(inside, math.isqrt(len(values)))
    if side == 0:
        return Image.new("L", (inside, inside), "white"), 0
    grey = Image.fromarray(values[: side * side].reshape(side, side))
    factor = inside // side
    return grey.resize((side * factor, side * factor), Image.Resampling.NEAREST), side * side


def _histogram(page: Image.Image, corner: Corner, values: np.ndarray, head: str, colour: str) -> None:
    """Draws a histogram of the 256 values, with their entropy, which is at most 8 bits."""
    left, top = corner
    draw = ImageDraw.Draw(page)
    counts = np.bincount(values, minlength=256)
    draw.text((left, top), head, INK, _font(15))
    entropy = f"{_entropy(counts):.3f} of 8 bits per value"
    draw.text((left + _PANEL, top + 1), entropy, FAINT, _font(14), anchor="ra")
    base = top + 26 + _CHART
    step = _PANEL / 256
    for value, count in enumerate(counts):
        height = round(_CHART * float(count) / max(1, int(counts.max())))
        if height:
            x = left + value * step
            draw.rectangle((x, base - height, x + step - 0.4, base), colour)
    draw.line((left, base + 1, left + _PANEL, base + 1), FAINT)
    draw.text((left, base + 6), "0", FAINT, _font(12))
    draw.text((left + _PANEL, base + 6), "255", FAINT, _font(12), anchor="ra")


def _entropy(counts: np.ndarray) -> float:
    """Returns the Shannon entropy in bits per value."""
    shares = counts[counts > 0] / max(1, int(counts.sum()))
    return float(-(shares * np.log2(shares)).sum()) + 0.0


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
