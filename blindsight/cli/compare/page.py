"""The report as one self-contained HTML file: text, figures, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blindsight.cli import pages
from blindsight.cli.compare import photos, units
from blindsight.cli.compare.plaintext import Task
from blindsight.cli.compare.results import Answer, Images, Method, Results, Row
from blindsight.cli.compare.vaults import INCLUDES

NOTHING = "–"


def render(results: Results, verdict: Sequence[str], task: Task) -> str:
    """Returns the page as HTML.

    Args:
        results: the measurements.
        verdict: a headline, then sentences.
        task: the task that was measured, with the pixels of queries and gallery.
    """
    from blindsight.cli.compare import plots

    headline, *sentences = verdict
    return pages.render(
        "compare/page.html",
        light=plots.COLOURS.items(),
        headline=headline,
        sentences=sentences,
        about=about_images(results.images),
        count=f"{results.images.count:,}",
        scaled=any(row.scaled for row in results.rows),
        rows=[_row(row) for row in results.rows],
        left_out=_left_out(results),
        queries=[_query(results, task, number) for number in range(len(results.queries))],
        plots=plots.drawn(results),
        machine=_machine(results),
        side=results.images.size,
        ingest=INCLUDES,
        nothing=NOTHING,
    )


def about_images(images: Images) -> str:
    """Returns a sentence on the number of photos: given ones, altered ones, skipped files."""
    parts = [f"{images.count:,} photos"]
    altered = images.count - images.originals
    if altered:
        given = "1 given photo" if images.originals == 1 else f"{images.originals:,} given photos"
        parts[0] += f": {given}, and {altered:,} made by altering"
    if images.skipped:
        files_were = "file was" if images.skipped == 1 else "files were"
        parts.append(
            f"{images.skipped:,} {files_were} skipped: hidden, no photo, a duplicate, or a channel is empty"
        )
    return f"{'; '.join(parts)}."


def _row(row: Row) -> dict[str, Any]:
    """Returns a row of the table of figures."""
    error = units.error(row.max_error) if row.method is not Method.PLAINTEXT else NOTHING
    cells = (
        ("make keys", "keygen_seconds", _optional(row.keygen_seconds)),
        ("encrypt all", "encrypt_seconds", _optional(row.encrypt_seconds)),
        ("search", "compare_seconds", units.seconds(row.search_seconds)),
        ("of which decrypt", "decrypt_seconds", _optional(row.decrypt_seconds)),
        ("bytes a photo", "bytes_per_image", units.size(row.bytes_per_image)),
        ("largest error", "max_error", error),
    )
    return {
        "family": row.family,
        "name": row.name,
        "about": _about(row),
        "cells": [(label, text, field in row.scaled) for label, field, text in cells],
        "right": f"{row.right} of {len(row.answers)}",
        "all_right": row.right == len(row.answers),
        # The page says how many photos the naive method chose from: fewer make the task easier.
        "among": row.answers[0].candidates if row.method is Method.NAIVE else None,
    }


def _about(row: Row) -> list[str]:
    """Returns lines on what the scheme hides, its security level, and the sample that was measured."""
    lines = [f"hides {row.hides}"]
    if row.method in (Method.BLINDSIGHT, Method.ADDITIVE):
        lines.append(row.security.partition(",")[0])
    return [*lines, f"≈ from {row.sample}"] if row.sample else lines


def _optional(value: float | None) -> str:
    """Returns a time as text; a dash for 0 or None, which mean that there is no such step."""
    return units.seconds(value) if value else NOTHING


def _left_out(results: Results) -> list[tuple[str, str]]:
    """Returns pairs of the names that were left out for the same reason, and the reason."""
    names: dict[str, list[str]] = {}
    for one in results.left_out:
        names.setdefault(one.reason, []).append(one.name)
    return [(", ".join(who), reason) for reason, who in names.items()]


def _query(results: Results, task: Task, number: int) -> dict[str, Any]:
    query = results.queries[number]
    return {
        "name": query.name[0].upper() + query.name[1:],
        "asked": _url(task.asked[number].pixels),
        "right": _url(task.gallery.pixels[query.winner]),
        "answers": [_answer(row, row.answers[number]) for row in results.rows if number < len(row.answers)],
    }


def _answer(row: Row, answer: Answer) -> dict[str, Any]:
    channels = [(units.similarity(value), _possible(value)) for value in answer.channels]
    return {"family": row.family, "name": row.name, "right": answer.right, "channels": channels}


def _possible(similarity: float | None) -> bool:
    """Returns whether a squared cosine can have this value, apart from rounding."""
    return similarity is not None and -0.005 <= similarity <= 1.005


def _url(pixels: photos.Pixels) -> str:
    return pages.data_url(photos.png(pixels), "image/png")


def _machine(results: Results) -> str:
    machine = results.machine
    memory = units.size(machine["memory_bytes"])
    return (
        f"On {machine['cores']} cores of {machine['processor']}, {memory} of memory, {machine['system']}, "
        f"Python {machine['python']}, Blindsight {machine['blindsight']}, {machine['date']}. Load before the "
        f"start: {machine['load_average_before']}; if it is near the number of cores, times are too long."
    )
