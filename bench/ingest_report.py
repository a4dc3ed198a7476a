"""Tables of the figures of ingest, with their targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import steps
from report import Line
from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]
_PROGRAMS = ("client", "keyholder", "storage", "evaluator", "workers")


def lines(document: Figures) -> Iterator[Line]:
    """Yields targets and figures."""
    two, plain = document["bulk"]["2"], document["plain"]
    ratio = _ratio(document["waiting"])
    yield Line("two workers beside one, all in the queue", ">= 1.6x", f"{ratio:.2f}x", ratio >= 1.6)
    yield Line("the most that its processor times allow", "", f"{_bound(document['waiting']):.2f}x", None)
    yield Line("two beside one, whole job with its sending", "", f"{_ratio(document['bulk']):.2f}x", None)
    yield Line("the most that its processor times allow", "", f"{_bound(document['bulk']):.2f}x", None)
    faster = two["photos_per_second"] / plain["photos_per_second"]
    yield Line("two workers beside the plain path", ">= 1x", f"{faster:.2f}x", faster >= 1)
    part, cpu = document["steps"]["queue_part"], document["steps"]["queue_part_cpu"]
    yield Line("the queue's steps beside the others", "< 10 %", f"{part:.1%}", part < 0.1)
    yield Line("the same, processor time", "< 10 %", f"{cpu:.1%}", cpu < 0.1)
    more = two["cpu_ms_per_photo_total"] / plain["cpu_ms_per_photo_total"] - 1
    yield Line("processor time, bulk beside plain", "", f"{more:+.1%}", None)
    published = document["publish"]
    yield Line("publishing alone", "", f"{published['photos_per_second']:,.0f} photos/s", None)
    kept = published["queue_bytes_per_photo"], plain["turns"][0]["storage_bytes_per_photo"]
    sizes = " / ".join(f"{size / 1e3:.1f}" for size in (published["file_bytes_per_photo"], *kept))
    yield Line("a photo as file / in queue / in storage", "", f"{sizes} kB", None)


def _ratio(runs: Figures) -> float:
    return float(runs["2"]["photos_per_second"] / runs["1"]["photos_per_second"])


def _bound(runs: Figures) -> float:
    """Returns the largest possible speed-up of two workers on two processors shared with other programs.

    One worker is limited by its own processor; two can use both, except for the time that services and sender
    take.
    """
    spent = runs["1"]
    return min(2 * spent["cpu_ms_per_photo"]["workers"] / spent["cpu_ms_per_photo_total"], 2.0)


def show(document: Figures) -> None:
    """Prints targets and figures, each path, and the steps."""
    console = Console(width=110)
    table = Table("", "aim", "measured", "", title=_title(document), title_justify="left")
    for line in lines(document):
        mark = {True: "[green]met", False: "[red]missed", None: "[dim]not judged"}[line.met]
        table.add_row(line.what, line.aim, line.measured, mark)
    console.print(table)
    if document.get("note"):
        console.print(document["note"])
    console.print(_paths(document))
    console.print(_steps(document["steps"]))


def _title(document: Figures) -> str:
    given, ran = document["parameters"], document["machine"]
    size = f"{given['width']} x {given['height']}"
    return f"{given['photos']:,} JPEG files of {size} on {ran['cores']} cores of {ran['processor']}"


def _paths(document: Figures) -> Table:
    columns = ("photos/s", "seconds", "cores busy", *_PROGRAMS, "all")
    table = Table("", *columns, title="processor time of a photo, ms", title_justify="left")
    paths = {
        "plain": document["plain"],
        **{f"bulk, workers: {count}": one for count, one in document["bulk"].items()},
        **{f"from the queue: {count}": one for count, one in document["waiting"].items()},
        "publishing": document["publish"],
    }
    for name, one in paths.items():
        spent = one["cpu_ms_per_photo"]
        table.add_row(
            name,
            f"{one['photos_per_second']:,.1f}",
            f"{one['seconds']:,.1f}",
            f"{one['cores_busy']:.2f}",
            *(f"{spent[program]:.2f}" for program in _PROGRAMS),
            f"{one['cpu_ms_per_photo_total']:.2f}",
        )
    for count, one in document["bulk"].items():
        cold = one["turns"][0]
        rates = " and ".join(f"{turn['photos_per_second']:.0f}" for turn in one["turns"])
        table.caption = (table.caption or "") + (
            f"workers: {count}: {rates} photos/s, ready after {cold['start_seconds']:.1f} s, "
            f"first {cold['cold_photos']} photos after {cold['cold_seconds']:.1f} s more, "
            f"appends refused and placed anew: {sum(turn['conflicts'] for turn in one['turns'])}; "
        )
    return table


def _steps(figures: Figures) -> Table:
    table = Table("a photo, ms", "wall", "processor", title="step by step, alone", title_justify="left")
    for name in (*steps.WORK, *steps.QUEUE):
        what = f"{name} (queue)" if name in steps.QUEUE else name
        table.add_row(what, f"{figures['ms'][name]:.2f}", f"{figures['cpu_ms'][name]:.2f}")
    return table
