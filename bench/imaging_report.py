"""Tables of the figures of image processing, with their targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from report import Line
from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]
REPEATED = 0.7  # target share of keypoints that both find


def lines(document: Figures) -> Iterator[Line]:
    """Yields targets and figures: speed, then correctness."""
    for task in document["tasks"].values():
        for scheme, figures in task["schemes"].items():
            aim, seconds = task["aims"].get(scheme), figures["p50_seconds"]
            if aim is not None:
                yield Line(f"{task['what']}, {scheme}", f"< {aim:g} s", f"{seconds:.2f} s", seconds < aim)
    judged = {
        (name, scheme): figures["judged"]
        for name, task in document["tasks"].items()
        for scheme, figures in task["schemes"].items()
    }
    smooth = max(one["largest_difference"] for (name, _), one in judged.items() if name == "gaussian")
    yield Line("Gaussian beside OpenCV's", "<= 1 grey level", str(smooth), smooth <= 1)
    exact = [one for (name, _), one in judged.items() if name.startswith(("difference", "erosion"))]
    worst = max(one["largest_difference"] for one in exact)
    yield Line("differences and erosions beside OpenCV's", "0", str(worst), worst == 0)
    for (name, _), one in judged.items():
        if name == "sift":
            both = one["opencv_has"], one["found_of_opencvs"]
            shares = f"{both[0]:.0%}; of OpenCV's {both[1]:.0%}"
            yield Line("keypoints within 2 pixels of OpenCV's", ">= 70 %", shares, min(both) >= REPEATED)


def show(document: Figures) -> None:
    """Prints targets and figures, then every operation."""
    console = Console(width=140)
    ran = document["machine"]
    title = f"image processing on {ran['cores']} cores of {ran['processor']}"
    table = Table("", "aim", "measured", "", title=title, title_justify="left")
    for line in lines(document):
        mark = {True: "[green]met", False: "[red]missed", None: "[dim]not judged"}[line.met]
        table.add_row(line.what, line.aim, line.measured, mark)
    console.print(table)
    if document.get("note"):
        console.print(document["note"])
    console.print(_operations(document))


def _operations(document: Figures) -> Table:
    columns = ("", "seconds", "first", "trips", "ciphertexts", "sent", "received", "off by")
    title = "every operation; ≈ a few pixels value by value under Paillier-3072, scaled up, all cores at best"
    table = Table("", *columns, title=title, title_justify="left")
    for task in document["tasks"].values():
        for scheme, figures in task["schemes"].items():
            account = figures["calls"][-1]["account"]
            table.add_row(
                task["what"],
                scheme,
                f"{figures['p50_seconds']:.2f}",
                f"{figures['first_seconds']:.2f}",
                str(account["round_trips"]),
                f"{account['ciphertexts']:,} / {account['results']:,}",
                _size(account["sent_bytes"]),
                _size(account["received_bytes"]),
                str(figures["judged"].get("largest_difference", "")),
            )
        if "baseline" in task:
            _add_baseline(table, task["baseline"])
    return table


def _add_baseline(table: Table, figures: Figures) -> None:
    least = ">" if figures["what"].startswith("at least") else "≈"
    table.add_row(
        "",
        "[dim]value by value",
        f"{least} {figures['seconds_all_cores_at_best']:,.0f}",
        "",
        "",
        f"{figures['values']:,} / {figures['results']:,}",
        _size(figures["sent_bytes"]),
        _size(figures["received_bytes"]),
        str(figures.get("largest_difference", "")),
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
