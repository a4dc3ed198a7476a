"""The report as one HTML file that needs no other: words, figures, pictures."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from blindsight.cli import pages
from blindsight.cli.compare import photos, units
from blindsight.cli.compare.plaintext import Task
from blindsight.cli.compare.results import Answer, Images, Method, Results, Row
from blindsight.cli.compare.vaults import INCLUDES

if TYPE_CHECKING:
    from blindsight.cli.compare.plots import Drawn

NOTHING = "–"


def render(results: Results, verdict: Sequence[str], task: Task) -> str:
    """The page.

    Args:
        verdict: a headline, then sentences.
        task: has the pixels of the queries and of what they should find.
    """
    from blindsight.cli.compare import plots

    light = "".join(f"  --{name}: {colour};\n" for name, colour in plots.COLOURS.items())
    parts = {
        "light": light.rstrip(),
        "verdict": _verdict(verdict),
        "about": escape(about_images(results.images)),
        "count": f"{results.images.count:,}",
        "scaled_key": _scaled_key(results.rows),
        "rows": "\n".join(map(_row, results.rows)),
        "left_out": _left_out(results),
        "queries": "\n".join(_query(results, task, number) for number in range(len(results.queries))),
        "plots": "\n".join(map(_plot, plots.drawn(results))),
        "machine": escape(_machine(results)),
        "side": str(results.images.size),
        "ingest": escape(INCLUDES),
    }
    return pages.render(__package__, parts)


def about_images(images: Images) -> str:
    """How many photos are real."""
    parts = [f"{images.count:,} photos"]
    altered = images.count - images.originals
    if altered:
        given = "1 given photo" if images.originals == 1 else f"{images.originals:,} given photos"
        parts[0] += f": {given}, and {altered:,} made by altering"
    if images.skipped:
        files_were = "file was" if images.skipped == 1 else "files were"
        parts.append(
            f"{images.skipped:,} {files_were} skipped: no photo, the same again, or short of a colour"
        )
    return f"{'; '.join(parts)}."


def _verdict(sentences: Sequence[str]) -> str:
    first, *rest = (_unbroken(escape(one)) for one in sentences)
    return "\n".join([f'<p class="headline">{first}</p>', *(f'<p class="lead">{one}</p>' for one in rest)])


def _unbroken(text: str) -> str:
    """Keeps a figure and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(?:µs|ms|s|min|h|×)\b|×)|(?<=×) (?=10)", "\N{NO-BREAK SPACE}", text)


def _scaled_key(rows: Sequence[Row]) -> str:
    if not any(row.scaled for row in rows):
        return "All of it was measured in full."
    return '<span class="key">≈</span> was measured on a sample and scaled up.'


def _row(row: Row) -> str:
    first = (
        f'<td><span class="scheme" style="--c: var(--{row.family})">{escape(row.name)}</span>'
        f"<small>{'<br>'.join(map(escape, _about(row)))}</small></td>"
    )
    error = units.error(row.max_error) if row.method is not Method.PLAINTEXT else NOTHING
    found = [
        _cell(row, "make keys", "keygen_seconds", _optional(row.keygen_seconds)),
        _cell(row, "encrypt all", "encrypt_seconds", _optional(row.encrypt_seconds)),
        _cell(row, "search", "compare_seconds", units.seconds(row.search_seconds)),
        _cell(row, "of which decrypt", "decrypt_seconds", _optional(row.decrypt_seconds)),
        _cell(row, "bytes a photo", "bytes_per_image", units.size(row.bytes_per_image)),
        _cell(row, "largest error", "max_error", error),
        f'<td data-label="right photo">{_right(row)}</td>',
    ]
    return f"<tr>{first}{''.join(found)}</tr>"


def _about(row: Row) -> list[str]:
    """What is hidden, by how much, and what was measured of it."""
    lines = [f"hides {row.hides}"]
    if row.method in (Method.BLINDSIGHT, Method.ADDITIVE):
        lines.append(row.security.partition(",")[0])
    return [*lines, f"≈ from {row.sample}"] if row.sample else lines


def _right(row: Row) -> str:
    """Who had fewer photos to choose from had it easier, so it is said."""
    kind = "yes" if row.right == len(row.answers) else "no"
    text = f'<span class="{kind}">{row.right} of {len(row.answers)}</span>'
    among = f"<small>among {row.answers[0].candidates}</small>" if row.method is Method.NAIVE else ""
    return text + among


def _cell(row: Row, label: str, field: str, text: str) -> str:
    inner = f'<span class="scaled">{text}</span>' if field in row.scaled else text
    return f'<td data-label="{label}">{inner}</td>'


def _optional(value: float | None) -> str:
    """What takes no time is not done."""
    return units.seconds(value) if value else NOTHING


def _left_out(results: Results) -> str:
    """A line for each reason, with all that it kept out."""
    names: dict[str, list[str]] = {}
    for one in results.left_out:
        names.setdefault(one.reason, []).append(one.name)
    return "\n".join(
        f'<p class="note">Left out: {escape(", ".join(who))}, since {escape(reason)}.</p>'
        for reason, who in names.items()
    )


def _query(results: Results, task: Task, number: int) -> str:
    query = results.queries[number]
    rows = "\n".join(_answer(row, row.answers[number]) for row in results.rows if number < len(row.answers))
    asked = _image(task.asked[number].pixels, "the query")
    right = _image(task.gallery.pixels[query.winner], "what plaintext finds")
    return f"""<article class="card query">
<h3>{escape(query.name[0].upper() + query.name[1:])}</h3>
<div class="pair"><figure>{asked}the query</figure><figure>{right}what plaintext finds</figure></div>
<table><thead><tr><th></th><th></th><th>red</th><th>green</th><th>blue</th></tr></thead><tbody>
{rows}
</tbody></table>
</article>"""


def _answer(row: Row, answer: Answer) -> str:
    mark = '<span class="yes">✓</span>' if answer.right else '<span class="no">✗</span>'
    values = (
        "".join(f"<td>{_similarity(value)}</td>" for value in answer.channels)
        or f'<td colspan="3">{NOTHING}</td>'
    )
    return (
        f'<tr><td><span class="scheme" style="--c: var(--{row.family})">{escape(row.name)}</span></td>'
        f"<td>{mark}</td>{values}</tr>"
    )


def _similarity(value: float | None) -> str:
    text = units.similarity(value)
    outside = value is None or not -0.005 <= value <= 1.005
    return f'<span class="no">{text}</span>' if outside else text


def _image(pixels: photos.Pixels, alternative: str) -> str:
    data = base64.b64encode(photos.png(pixels)).decode()
    return f'<img width="64" height="64" alt="{alternative}" src="data:image/png;base64,{data}">'


def _plot(plot: Drawn) -> str:
    return f"""<figure class="card plot">
<figcaption><h3>{escape(plot.title)}</h3><span>{escape(plot.caption)}</span></figcaption>
<div class="wide">{plot.wide}</div>
<div class="narrow">{plot.narrow}</div>
</figure>"""


def _machine(results: Results) -> str:
    machine = results.machine
    memory = units.size(machine["memory_bytes"])
    return (
        f"On {machine['cores']} cores of {machine['processor']}, {memory} of memory, {machine['system']}, "
        f"Python {machine['python']}, Blindsight {machine['blindsight']}, {machine['date']}. Load before the "
        f"start: {machine['load_average_before']}; if it is near the number of cores, times are too long."
    )
