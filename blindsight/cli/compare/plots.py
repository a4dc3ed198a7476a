"""The figures, drawn by matplotlib: as SVG in the page's colours and two widths, and as PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from blindsight.cli.compare import units
from blindsight.cli.compare.results import Family, Method, Results, Row

# The colours of the light page, each used once: in SVG they become CSS variables, which the dark page
# overrides.  Families after Okabe and Ito, stages after Tol: palettes safe for colour blindness.
COLOURS = {
    "ink": "#1b2027",
    "muted": "#5c6570",
    "grid": "#e4e7eb",
    "card": "#fefefe",
    Family.CKKS.value: "#0072b2",
    Family.BFV.value: "#d55e00",
    Family.PAILLIER.value: "#009e73",
    Family.PLAINTEXT.value: "#7c848e",
    "query": "#44aa99",
    "compare": "#332288",
    "decrypt": "#cc6677",
}
INK, MUTED, GRID, CARD = (COLOURS[name] for name in ("ink", "muted", "grid", "card"))
STAGES = ("query", "compare", "decrypt")
_STAGE_LABELS = ("encrypt", "compare", "decrypt")

_WIDE, _NARROW, _FILE = 4.6, 3.4, 8.0  # inches
_ROW = 0.36
_FONT = 9.0
_TICK_SECONDS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
_STYLE: Any = {
    "font.size": _FONT,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.edgecolor": GRID,
    "grid.color": GRID,
    "hatch.linewidth": 1.1,
    "hatch.color": CARD,
    "svg.fonttype": "none",
    "svg.hashsalt": "blindsight",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """The description of a figure.

    Attributes:
        name: name of its file.
        title, caption: text on the page and in the file.
        mark: explains how values scaled up from a sample are marked; added if there are any.
        draw: draws rows on the axes; its last argument says whether they are narrow.
        rows: selects the rows to draw.
        field: the field of a row that is drawn.
    """

    name: str
    title: str
    caption: str
    mark: str
    draw: Callable[[Axes, Sequence[Row], bool], None]
    rows: Callable[[Results], list[Row]]
    field: str = "compare_seconds"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure for the page: two SVG elements, of which the page shows the one that fits."""

    title: str
    caption: str
    wide: str
    narrow: str


def drawn(results: Results) -> list[Drawn]:
    """Returns every figure that has rows, for the page."""
    return [
        Drawn(plot.title, caption, _svg(plot, rows, _WIDE), _svg(plot, rows, _NARROW))
        for plot, caption, rows in _shown(results)
    ]


def pngs(results: Results) -> dict[str, bytes]:
    """Returns every figure as a PNG file, by its name."""
    made = {}
    for plot, caption, rows in _shown(results):
        figure = _figure(plot, rows, _FILE, head=0.75)
        height = figure.get_figheight()
        figure.text(0.2 / _FILE, 1 - 0.32 / height, plot.title, size=13, weight="bold", color=INK)
        figure.text(0.2 / _FILE, 1 - 0.57 / height, caption, size=_FONT, color=MUTED)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=200, facecolor=CARD)
        made[plot.name] = file.getvalue()
    return made


def _shown(results: Results) -> Iterator[tuple[Plot, str, list[Row]]]:
    count = f"{results.images.count:,}"
    for plot in PLOTS:
        rows = plot.rows(results)
        marked = any(plot.field in row.scaled for row in rows)
        caption = plot.caption.format(count=count) + (f" {plot.mark}" if marked else "")
        if rows:
            yield plot, caption, rows


# --- what is drawn ------------------------------------------------------------------------------


def _draw_times(axes: Axes, rows: Sequence[Row], narrow: bool) -> None:
    values = [row.search_seconds for row in rows]
    _logarithmic(axes, values, narrow)
    _dots(axes, rows, values, [_marked(row, "search_seconds", units.seconds) for row in rows])
    least = axes.get_xlim()[0]
    ticks = [tick for tick in _TICK_SECONDS if least <= tick <= max(values)]
    _ticks(axes, ticks[:: 2 if narrow and len(ticks) > 3 else 1], _round_time)


def _draw_errors(axes: Axes, rows: Sequence[Row], narrow: bool) -> None:
    numbers = [row.max_error for row in rows if row.max_error is not None and not units.exact(row.max_error)]
    least, most = min([*numbers, 1e-3]) / 10, max([*numbers, 1.0]) * 10
    _logarithmic(axes, [least, most], narrow)
    start, end = axes.get_xlim()
    # A logarithmic scale has no place for an error of 0: it is drawn at the edge.
    edge = start * (end / start) ** 0.03
    values = [edge if units.exact(row.max_error) else row.max_error or most for row in rows]
    axes.axvspan(1, end, color=GRID, alpha=0.5, linewidth=0, zorder=0)
    _dots(axes, rows, values, [units.error(row.max_error) for row in rows], edge)
    exponents = [exponent for exponent in range(-18, 19, 3) if start <= 10.0**exponent <= most]
    _ticks(axes, [10.0**exponent for exponent in exponents], _power)


def _draw_sizes(axes: Axes, rows: Sequence[Row], narrow: bool) -> None:
    values = [row.bytes_per_image for row in rows]
    axes.set_xlim(0, max(values) * (1.36 if narrow else 1.16))
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        scaled = "bytes_per_image" in row.scaled
        hatch = "////" if scaled else None
        axes.barh(place, value, 0.56, color=COLOURS[row.family], hatch=hatch, linewidth=0, zorder=2)
        _label(axes, value, place, _marked(row, "bytes_per_image", units.size))
    axes.xaxis.set_major_locator(MaxNLocator(3 if narrow else 5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.size(value)))


def _draw_stages(axes: Axes, rows: Sequence[Row], narrow: bool) -> None:
    axes.set_xlim(0, 1.32 if narrow else 1.14)
    for place, row in enumerate(rows):
        left = 0.0
        for stage, label in zip(STAGES, _STAGE_LABELS, strict=True):
            share = getattr(row, f"{stage}_seconds") / row.search_seconds
            axes.barh(
                place, share, 0.56, left, color=COLOURS[stage], label=label if not place else None,
                edgecolor=CARD, linewidth=0.8, zorder=2,
            )  # fmt: skip
            left += share
        _label(axes, 1.0, place, _marked(row, "search_seconds", units.seconds))
    _ticks(axes, [0, 0.5, 1] if narrow else [0, 0.25, 0.5, 0.75, 1], lambda value: f"{value:.0%}")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Draws the legend above the bars, from the figure's edge, so that it fits into the narrow one too."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.legend(
            loc="lower left", bbox_to_anchor=(0.025, axes.get_position().y1), ncols=3, frameon=False,
            borderaxespad=0.2, handlelength=1.0, handleheight=1.0, columnspacing=1.4, labelcolor=INK,
        )  # fmt: skip


def _all(results: Results) -> list[Row]:
    return list(results.rows)


def _encrypted(results: Results) -> list[Row]:
    return [row for row in results.rows if row.method is not Method.PLAINTEXT]


PLOTS = (
    Plot(
        "time-to-compare",
        "Time of one search",
        "One photo compared with {count}, from its pixels to the best match. Logarithmic.",
        "○ was scaled up from a sample.",
        _draw_times,
        _all,
    ),
    Plot(
        "error",
        "Largest error of a similarity",
        "Difference from plaintext. Logarithmic; in the grey it is larger than any similarity can be.",
        "○ is of a sample.",
        _draw_errors,
        _encrypted,
    ),
    Plot(
        "bytes-per-image",
        "Bytes stored for each photo",
        "With {count} photos stored.",
        "Hatched: scaled up from a sample.",
        _draw_sizes,
        _all,
        field="bytes_per_image",
    ),
    Plot(
        "stages",
        "Where the time of a search goes",
        "Shares: encrypt the query, compare it, decrypt and rank. The whole is at the right.",
        "≈ was scaled up from a sample.",
        _draw_stages,
        _encrypted,
    ),
)


# --- how it is drawn ------------------------------------------------------------------------------


def _figure(plot: Plot, rows: Sequence[Row], width: float, head: float = 0.0) -> Figure:
    narrow = width < _FILE
    legend = 0.26 if plot.draw is _draw_stages else 0.05
    top, foot, left, right = head + legend, 0.3, 0.95 if narrow else 1.05, 0.08
    height = top + foot + _ROW * len(rows) + 0.1
    with mpl.rc_context(_STYLE):
        figure = Figure((width, height))
        box = (left / width, foot / height, 1 - (left + right) / width, 1 - (top + foot) / height)
        axes = figure.add_axes(box)
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.tick_params(length=0, pad=6)
        axes.grid(axis="x", zorder=0, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        plot.draw(axes, rows, narrow)
    return figure


def _logarithmic(axes: Axes, values: Sequence[float], narrow: bool) -> None:
    """Sets a logarithmic scale, with space for labels at the right of the largest value."""
    axes.set_xscale("log")
    least, most = min(values), max(values)
    span = max(most / least, 100.0)
    axes.set_xlim(least / span**0.06, most * span ** (0.42 if narrow else 0.16))


def _dots(
    axes: Axes, rows: Sequence[Row], values: Sequence[float], labels: Sequence[str], edge: float = 0.0
) -> None:
    """Draws a dot for each row, with a line from the left; a value equal to `edge` gets an arrow, no line."""
    start = axes.get_xlim()[0]
    for place, (row, value, label) in enumerate(zip(rows, values, labels, strict=True)):
        colour = COLOURS[row.family]
        hollow = bool(row.scaled)
        shape = "<" if value == edge else "o"
        axes.plot(
            [value if value == edge else start, value],
            [place, place],
            color=colour,
            linewidth=1.6,
            alpha=0.45,
            zorder=2,
        )
        axes.plot(
            value, place, shape, color=colour, markerfacecolor=CARD if hollow else colour, markersize=8,
            markeredgewidth=1.8, zorder=3,
        )  # fmt: skip
        _label(axes, value, place, label)


def _label(axes: Axes, value: float, place: int, text: str) -> None:
    axes.annotate(text, (value, place), (8, 0), textcoords="offset points", va="center", color=INK, zorder=4)


def _marked(row: Row, field: str, written: Callable[[float], str]) -> str:
    scaled = field in row.scaled or (field == "search_seconds" and "compare_seconds" in row.scaled)
    return f"{'≈ ' if scaled else ''}{written(getattr(row, field))}"


def _ticks(axes: Axes, ticks: Sequence[float], written: Callable[[float], str]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))


def _round_time(value: float) -> str:
    """Returns the label of a tick, which is a round number of its unit."""
    return f"{value / 60:g} min" if 60 <= value < 3600 else units.seconds(value)


def _power(value: float) -> str:
    return (
        "1"
        if value == 1
        else units.error(value).removeprefix("1.0 × ")
        if value < 0.01
        else units.digits(value)
    )


# --- SVG in a page ----------------------------------------------------------------------------------


def _svg(plot: Plot, rows: Sequence[Row], width: float) -> str:
    figure = _figure(plot, rows, width)
    # matplotlib hashes the salt and the content into ids, which must differ between figures of a page.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{plot.name} {width}"}):
        file = io.StringIO()
        nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _for_a_page(file.getvalue(), plot.title)


def _for_a_page(svg: str, title: str) -> str:
    """Returns the bare SVG element, without URLs and metadata, in the page's font and colours."""
    text = svg[svg.index("<svg") :]
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S
    )
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", text).replace("xlink:href", "href")
    named = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in named else "", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    text = re.sub(r'(fill|stroke)="(#\w{6})"', r'style="\1: \2"', text)
    for name, colour in COLOURS.items():
        text = re.sub(colour, f"var(--{name})", text, flags=re.I)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', rf'<svg\1 role="img" aria-label="{title}"', text)
    return re.sub(r"\n\s*", "\n", text).strip()
