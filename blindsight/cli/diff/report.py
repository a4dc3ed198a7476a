"""The report of what the server saw of a difference: pictures, and one self-contained HTML file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.cli import files, output, pages, pictures, pixels
from blindsight.cli.pixels import PixelRule
from blindsight.client import Difference, PictureInput, StoredPhoto

if TYPE_CHECKING:
    from blindsight.client import Vault

Pixels = npt.NDArray[np.uint8]
# Largest width and height of pictures on the page, in pixels; those in the folder have their full size.
PAGE_PIXELS = 560
_SERVER = {"a": "server-a.png", "b": "server-b.png", "result": "server-difference.png"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the report."""

    file: str
    title: str
    caption: str
    pixels: Pixels
    noise: bool = False  # cropped on the page: scaled down, noise would become a grey area


def write(
    vault: Vault,
    folder: Path,
    inputs: tuple[PictureInput, PictureInput],
    answer: Difference,
    rule: PixelRule | None,
) -> Path:
    """Writes every picture and the page into a folder, which it makes; returns the page's path."""
    first, second = (_pixels(vault, one) for one in inputs)
    every = [
        Shown("a.png", "A", "what you have", first),
        Shown("b.png", "B", "what you have", second),
        *_seen(answer),
        Shown("difference.png", "Difference", "what you get", *_result(answer, rule)[:1]),
    ]
    files.make_folder(folder)
    for one in every:
        files.write(folder / one.file, _png(Image.fromarray(one.pixels)))
    page = folder / "report.html"
    files.write(page, render(every, answer, _result(answer, rule)[1]).encode())
    return page


def _pixels(vault: Vault, one: PictureInput) -> Pixels:
    """Reads the pixels of a picture as displayed, or those of a stored photo's planes."""
    if isinstance(one, StoredPhoto):
        return vault.collection(one.collection).planes(one.id)
    with Image.open(one) as opened:  # type: ignore[arg-type]  # the command gives paths
        grey = opened.mode == "L" and not opened.has_transparency_data
        upright = pixels.upright(opened)
        return np.asarray(upright.convert("L") if grey else upright)


def _seen(answer: Difference) -> list[Shown]:
    titles = {
        "a": "A, as the server sees it",
        "b": "B, as the server sees it",
        "result": "Difference, as the server sees it",
    }
    hidden = not answer.account.warning
    about = (
        "ciphertext, a grey level for each number"
        if hidden
        else "not encrypted: the same values, shuffled, half of them inverted"
    )
    return [
        Shown(_SERVER[name], titles[name], about, answer.server_views[name], noise=True)
        for name in _SERVER
        if name in answer.server_views
    ]


def _result(answer: Difference, rule: PixelRule | None) -> tuple[Pixels, str]:
    made, done = pictures.shown(answer.values, answer.kind, rule)
    return made, done


def render(every: list[Shown], answer: Difference, done: str) -> str:
    """Returns the page as HTML."""
    by_file = {one.file: one for one in every}
    shape = every[0].pixels.shape
    own = "a.png", "b.png", "difference.png"
    order = [name for pair in zip(own, _SERVER.values(), strict=True) for name in pair]
    return pages.render(
        "diff/page.html",
        headline=_headline(answer),
        lead=_lead(answer, done),
        warning=answer.account.warning,
        figures=[_figure(by_file[name], shape) for name in order if name in by_file],
        facts=_facts(answer),
    )


def _headline(answer: Difference) -> str:
    values = f"{answer.values.size:,} values"
    if answer.account.warning:
        return f"The server subtracted {values} and could read every one"
    return f"The server subtracted {values} and read none"


def _lead(answer: Difference, done: str) -> str:
    found = (
        "The pictures are the same."
        if not answer.differing
        else f"The pictures differ in {answer.differing:,} of them, by {answer.minimum} to {answer.maximum}."
    )
    return f"{found} Shown: {done}." if done else found


def _facts(answer: Difference) -> list[tuple[str, str]]:
    account = answer.account
    work = account.encrypt_busy_seconds, account.compute_busy_seconds, account.decrypt_busy_seconds
    names = zip(("encrypt", "compute", "decrypt"), work, strict=True)
    spent = ", ".join(f"{name} {output.duration(seconds)}" for name, seconds in names)
    return [
        ("picture", pictures.size(answer.values)),
        *pictures.account_facts(account),
        ("time", f"{output.duration(account.total_seconds)}; of work, over all workers: {spent}"),
    ]


def _figure(one: Shown, shape: tuple[int, ...]) -> dict[str, object]:
    """Returns a picture as variables of the page's template, in the size that the page shows."""
    picture = Image.fromarray(_same_size(one, shape) if one.noise else one.pixels)
    largest = max(shape[:2])
    if largest > PAGE_PIXELS:
        scale = PAGE_PIXELS / largest
        wanted = max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
        picture = picture.crop((0, 0, *wanted)) if one.noise else picture.resize(wanted)
    return {
        "url": pages.data_url(_png(picture), "image/png"),
        "width": picture.width,
        "height": picture.height,
        "title": one.title,
        "caption": one.caption,
        "entropy": f"{entropy(one.pixels):.2f}",
    }


def _same_size(one: Shown, shape: tuple[int, ...]) -> Pixels:
    """Cuts or repeats the values of a server's view, which may be more or fewer than those of the picture."""
    height, width = shape[:2]
    return np.resize(one.pixels.reshape(-1), (height, width))


def entropy(values: npt.NDArray[Any]) -> float:
    """Returns the Shannon entropy of bytes, in bits per byte."""
    share = np.bincount(values.reshape(-1), minlength=256) / values.size
    there = share[share > 0]
    return float(-(there * np.log2(there)).sum())


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
