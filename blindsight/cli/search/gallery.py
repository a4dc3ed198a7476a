"""The report of a search by vectors: pictures of query and matches, and one self-contained HTML file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from blindsight.cli import files, listing, output, pages, pixels
from blindsight.client import Hit, SearchAnswer
from blindsight.runtime.printable import printable

# The longest side of the picture of a match without any likeness, and of a perfect one, in pixels.
LEAST_PIXELS, MOST_PIXELS = 56, 260


def write(
    folder: Path,
    collection: str,
    queries: Sequence[tuple[str, bytes | None]],
    answer: SearchAnswer,
    photos: Mapping[str, bytes],
) -> Path:
    """Writes the pictures and the page into a folder, which it makes; returns the page's path.

    Args:
        folder: where to.
        collection: its name.
        queries: name and file of each photo that was searched by, None of a vector: a section of the page.
        answer: the answer to them.
        photos: files of the matches by their ids; one that is missing or cannot be read has no picture.

    Raises:
        Failure: if the folder or a file cannot be written.
    """
    files.make_folder(folder)
    searches = []
    for number, ((name, data), hits) in enumerate(zip(queries, answer.results, strict=True), 1):
        of_query = f"{number}-" if len(queries) > 1 else ""
        asked = _drawn(data, MOST_PIXELS)
        best = (hits[0].score if hits else None) or 0.0
        shown = [_shown(rank, hit, best, answer, photos.get(hit.id)) for rank, hit in enumerate(hits, 1)]
        pictures = {f"{of_query}query.jpg": asked} | {
            f"{of_query}match-{rank}.jpg": one for rank, one in enumerate(shown, 1)
        }
        for file_name, picture in pictures.items():
            if picture["data"]:
                files.write(folder / file_name, picture["data"])
        query = {**asked, "title": printable(name)}
        searches.append({"query": query, "shown": shown, "lead": _lead(hits, answer)})
    page = folder / "report.html"
    files.write(page, _rendered(collection, searches, answer).encode())
    return page


def _rendered(collection: str, searches: Sequence[Mapping[str, Any]], answer: SearchAnswer) -> str:
    saw = ("the numbers of the query", "the numbers of the queries")
    if not answer.query_visible_to_server:
        fetched = "and which sealed photos were fetched"
        saw = (f"an encrypted query, {fetched}", f"encrypted queries, {fetched}")
    return pages.render(
        "search/gallery.html",
        collection=printable(collection),
        headline=_headline(len(searches), sum(map(len, answer.results))),
        searches=searches,
        facts=_facts(answer),
        seen=f"the server saw {saw[len(searches) > 1]}.",
    )


def _headline(queries: int, matches: int) -> str:
    of_all = f" of {queries:,} queries" if queries > 1 else ""
    if not matches:
        return f"No match{of_all}"
    return ("One match" if matches == 1 else f"{matches:,} matches") + of_all


def strength(score: float | None, best: float, answer: SearchAnswer) -> float:
    """Returns how strong a match is, 0 to 1: a cosine, what a distance leaves, or a share of the best.

    One whose score is not told counts as strong.
    """
    if score is None:
        return 1.0
    if not answer.higher_is_better:
        return 1 / (1 + max(score, 0.0))
    if answer.metric == "cosine":
        return min(max(score, 0.0), 1.0)
    return min(max(score / best, 0.0), 1.0) if best > 0 else 0.0


def _lead(hits: Sequence[Hit], answer: SearchAnswer) -> str:
    if not hits:
        return "The collection has nothing that passes."
    return f"{_name(hits[0])} is most like the query: {_score(hits[0], answer)}."


def _facts(answer: SearchAnswer) -> list[tuple[str, str]]:
    seconds = answer.timings.seconds()
    stages = [f"{name} {output.duration(seconds[name])}" for name in ("embed", "encrypt", "score", "decrypt")]
    better = "higher is better" if answer.higher_is_better else "lower is better"
    return [
        ("score", f"{answer.metric}, {better}: the server computed them and read none"),
        ("time", f"{output.duration(answer.timings.total_seconds)}; {', '.join(stages)}"),
    ]


def _name(hit: Hit) -> str:
    return printable(hit.name) or hit.id or "an item that storage has lost"


def _score(hit: Hit, answer: SearchAnswer) -> str:
    return f"{answer.metric} {output.score(hit.score)}"


def _shown(rank: int, hit: Hit, best: float, answer: SearchAnswer, photo: bytes | None) -> dict[str, Any]:
    """Returns a match as variables of the page's template, and its picture."""
    longest = LEAST_PIXELS + (MOST_PIXELS - LEAST_PIXELS) * strength(hit.score, best, answer) ** 2
    title, score = f"{rank}. {_name(hit)}", _score(hit, answer)
    about = f"{hit.id} {listing.label(hit.vector)}" if hit.vector is not None else hit.id
    return {**_drawn(photo, round(longest)), "title": title, "score": score, "about": about}


def _drawn(photo: bytes | None, longest: int) -> dict[str, Any]:
    """Returns a picture of a photo and its size on the page, which is half of its own, for sharp screens."""
    if photo is None:
        return {"data": b"", "url": ""}
    try:
        with Image.open(io.BytesIO(photo)) as opened:
            picture = pixels.upright(opened)
    except (OSError, ValueError, Image.DecompressionBombError):  # kept as it was given, and no picture of it
        return {"data": b"", "url": ""}
    scale = longest / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture.thumbnail((2 * width, 2 * height))
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=85)
    url = pages.data_url(made.getvalue(), "image/jpeg")
    return {"data": made.getvalue(), "url": url, "width": width}
