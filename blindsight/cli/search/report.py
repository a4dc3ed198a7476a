"""What a search by keypoints found, as pictures and one HTML file that needs no other."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from blindsight.cli import files, output, pages
from blindsight.client import Hit, MatchDrawing, SearchAnswer
from blindsight.errors import InvalidArgument


def write(folder: Path, collection: str, answer: SearchAnswer) -> Path:
    """Writes the pictures and the page; the page's path.

    Raises:
        InvalidArgument: when the answer has no pictures.
    """
    if not answer.drawings:
        raise InvalidArgument(
            "the keyholder sent no pictures of the matches; it may be older than this command"
        )
    for one in answer.drawings:
        name = f"match-{one.rank}.jpg" if one.rank else "query.jpg"
        files.write(folder / name, one.drawn)
    page = folder / "report.html"
    files.write(page, render(collection, answer).encode())
    return page


def render(collection: str, answer: SearchAnswer) -> str:
    """The page."""
    hits = answer.results[0]
    shown = [(one, hits[one.rank - 1] if one.rank else None) for one in answer.drawings]
    facts = (f"<dt>{escape(name)}</dt><dd>{escape(told)}</dd>" for name, told in _facts(answer))
    parts = {
        "collection": escape(output.printable(collection)),
        "headline": escape(_headline(hits)),
        "lead": escape(_lead(hits)),
        "ranking": "\n".join(_ranked(one, hit) for one, hit in shown),
        "matches": "\n".join(_drawn(one, hit) for one, hit in [*shown[1:], shown[0]]),
        "facts": "\n".join(facts),
    }
    return pages.render(__package__, parts)


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
    return output.printable(hit.name) or hit.id


def _ranked(one: MatchDrawing, hit: Hit | None) -> str:
    title = f"{one.rank}. {_name(hit)}" if hit is not None else "Query"
    return f"""<figure class="card"><a href="#match-{one.rank}">
{_image(one.photo, title)}
<figcaption><h3>{escape(title)}</h3>{_count(hit)}</figcaption></a></figure>"""


def _drawn(one: MatchDrawing, hit: Hit | None) -> str:
    title = f"{one.rank}. {_name(hit)}" if hit is not None else "The query and its keypoints"
    about = f'<p class="id">{escape(hit.id)}, cosine {hit.score:.3f}</p>' if hit is not None else ""
    return f"""<figure class="card" id="match-{one.rank}">
{_image(one.drawn, title)}
<figcaption><h3>{escape(title)}</h3>{_count(hit)}{about}</figcaption>
</figure>"""


def _count(hit: Hit | None) -> str:
    if hit is None or hit.keypoints is None:
        return ""
    made = hit.keypoints
    verdict = ', <span class="verified">verified</span>' if made.verified else ", not verified"
    return f'<p class="count">{made.inliers} inliers of {made.matches} matches{verdict}</p>'


def _image(data: bytes, title: str) -> str:
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{escape(title)}" src="data:image/jpeg;base64,{encoded}">'
