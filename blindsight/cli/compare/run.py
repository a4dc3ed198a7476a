"""Reads the photos, measures one scheme after the other, and writes the report."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from blindsight import __version__
from blindsight.cli import files, output
from blindsight.cli.compare import page, photos, plaintext, plots, results, units, vaults, verdict
from blindsight.cli.compare.baselines import programs
from blindsight.cli.compare.plaintext import Task
from blindsight.cli.compare.results import Images, LeftOut, Method, Results, Row
from blindsight.cli.local import temporary


def run(paths: Sequence[str], out: Path, images: int, *, as_json: bool) -> None:
    """Measures all schemes on `images` photos; writes report.html, plots and results.json into `out`."""
    files.make_folder(out)
    found, task = _measured(paths, images)
    sentences = verdict.verdict(found)
    document = results.document(found, sentences)
    with output.spinner("drawing the report"):
        files.write(out / "results.json", (json.dumps(document, indent=1) + "\n").encode())
        for name, png in plots.pngs(found).items():
            files.write(out / f"{name}.png", png)
        files.write(out / "report.html", page.render(found, sentences, task).encode())
    if as_json:
        output.document(document)
    else:
        _show(found, sentences, out)


def _measured(paths: Sequence[str], wanted: int) -> tuple[Results, Task]:
    """Measures one scheme after the other, so that none disturbs the times of another."""
    with output.meter("reading photos", wanted) as meter:
        gallery = photos.gather(paths, wanted, meter.update)
    described = Images(len(gallery.pixels), gallery.originals, gallery.skipped)
    output.note(page.about_images(described))
    machine = _machine()
    rows, left_out = list[Row](), list[LeftOut]()
    with (
        temporary.ended_in_order(),
        tempfile.TemporaryDirectory(prefix="blindsight-compare-") as folder,
        contextlib.ExitStack() as running,
    ):
        task, plain = plaintext.judge(gallery, photos.queries(gallery))
        for found in _schemes(task, Path(folder), running):
            if isinstance(found, Row):
                rows.append(found)
                _report(found)
            else:
                left_out.append(found)
                output.note(f"left out {found.name}: {found.reason}")
    return Results(described, tuple(task.queries), (*rows, plain), tuple(left_out), machine), task


def _schemes(task: Task, folder: Path, running: contextlib.ExitStack) -> Iterator[Row | LeftOut]:
    with output.spinner("making keys and starting three services"):
        services = running.enter_context(vaults.running(folder / "vault"))
    for recipe in vaults.RECIPES:
        yield vaults.measure(services, recipe, task)
    running.close()  # the others have the machine to themselves
    for baseline in programs.BASELINES:
        yield programs.measure(baseline, task, folder)


def _report(row: Row) -> None:
    about = "about " if row.scaled else ""
    encrypt, search = units.seconds(row.encrypt_seconds), units.seconds(row.search_seconds)
    stages = f"encrypt {about}{encrypt}, search {about}{search}"
    line = output.text(("✓ ", "green"), (f"{row.name:<11}", "bold"), stages)
    output.step(line)


def _machine() -> dict[str, object]:
    """Returns the facts about the machine that matter for its times; no names and no paths."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blindsight": __version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _show(found: Results, sentences: Sequence[str], out: Path) -> None:
    table = output.table(
        "scheme", "encrypt", "search", "a photo", "error", "right",
        right=("encrypt", "search", "a photo", "error", "right"),
    )  # fmt: skip
    for row in found.rows:
        table.add_row(row.name, *_cells(row))
    output.show(table)
    if any(row.scaled for row in found.rows):
        output.answer("≈ measured on a sample and scaled up")
    for sentence in sentences:
        output.answer(sentence)
    output.answer(f"Look at {out / 'report.html'}")


def _cells(row: Row) -> tuple[str, ...]:
    """Returns the figures of a row for a terminal: encrypt, search, bytes, error, right."""
    encrypted = row.method is not Method.PLAINTEXT
    return (
        _marked(row, "encrypt_seconds", units.seconds(row.encrypt_seconds)) if encrypted else page.NOTHING,
        _marked(row, "compare_seconds", units.seconds(row.search_seconds)),
        _marked(row, "bytes_per_image", units.size(row.bytes_per_image)),
        units.error(row.max_error) if encrypted else page.NOTHING,
        f"{row.right} of {len(row.answers)}",
    )


def _marked(row: Row, field: str, text: str) -> str:
    return f"≈ {text}" if field in row.scaled else text
