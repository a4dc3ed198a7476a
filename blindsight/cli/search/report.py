"""The report of a search by keypoints: pictures, and one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from blindsight.cli import files, output, pages
from blindsight.client import Hit, MatchDrawing, SearchAnswer
from blindsight.errors import InvalidArgument
from blindsight.runtime.printable import printable


def write(folder: Path, collection: str, answer: SearchAnswer) -> Path:
    """Writes the pictures and the page into a folder, which it makes; returns the page's path.

    Raises:
        InvalidArgument: if the answer has no pictures.
        Failure: if the folder or a file cannot be written.
    """
    if not answer.drawings:
        raise InvalidArgument(
            "the keyholder sent no pictures of the matches; it may be older than this command"
        )
    files.make_folder(folder)
    for one in answer.drawings:
        name = f"match-{one.rank}.jpg" if one.rank else "query.jpg"
        files.write(folder / name, one.drawn)
    page = folder / "report.html"
    files.write(page, render(collection, answer).encode())
    return page


def render(collection: str, answer: SearchAnswer) -> str:
    """Returns the page as HTML."""
    hits = answer.results[0]
    return pages.render(
        "search/page.html",
        collection=printable(collection),
        headline=_headline(hits),
        lead=_lead(hits),
        shown=[_shown(one, hits[one.rank - 1] if one.rank else None) for one in answer.drawings],
        facts=_facts(answer),
    )


def _headline(hits: list[Hit]) -> str:
    verified = sum(hit.keypoints is not None and hit.keypoints.verified for hit in hits)
    if not verified:
        return "No photo shows the same"
    return "One photo shows the same" if verified == 1 else f"{verified} photos show the same"


def _lead(hits: list[Hit]) -> str:
    if not hits:
        return "The collection is empty."
    best = hits[0].keypoints
    if best is None or not best.verified:
        return "The best candidates are below; what they have in common may well be chance."
    return f"{_name(hits[0])} has {best.inliers} keypoints in common with the query that fit one view."


def _facts(answer: SearchAnswer) -> list[tuple[str, str]]:
    seconds = answer.timings.seconds()
    encrypted = output.duration(seconds["encrypt"] + seconds["score"] + seconds["decrypt"])
    total, compared = (output.duration(seconds[name]) for name in ("total", "match"))
    return [
        ("candidates", "by one encrypted vector a photo: the server scored them and read none"),
        ("decision", "by keypoints, which storage keeps sealed and the keyholder opened and compared"),
        ("time", f"{total}; encrypted search {encrypted}, keypoints {compared}"),
    ]


def _name(hit: Hit) -> str:
    return printable(hit.name) or hit.id


def _shown(one: MatchDrawing, hit: Hit | None) -> dict[str, object]:
    """Returns a photo and its keypoints as variables of the page's template."""
    photo, drawn = (pages.data_url(data, "image/jpeg") for data in (one.photo, one.drawn))
    shown: dict[str, object] = {"rank": one.rank, "photo": photo, "drawn": drawn}
    if hit is None:
        return shown | {
            "title": "Query",
            "drawn_title": "The query and its keypoints",
            "matched": None,
            "about": "",
        }
    title = f"{one.rank}. {_name(hit)}"
    about = f"{hit.id}, cosine {hit.score:.3f}"
    return shown | {"title": title, "drawn_title": title, "matched": hit.keypoints, "about": about}
