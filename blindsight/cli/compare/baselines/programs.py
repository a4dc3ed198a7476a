"""Runs a baseline program on a sample, and makes a row of its answer; imports none of its libraries."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from blindsight.cli import output
from blindsight.cli.compare.plaintext import Task, distances
from blindsight.cli.compare.results import Answer, Channels, Family, LeftOut, Method, Query, Row

_PACKAGE = "blindsight.cli.compare.baselines"
CANDIDATES = 4
"""Photos that a naive scheme compares with each query, the right one among them."""
ENCRYPTIONS = 8
"""Photos that a naive scheme encrypts."""
BLOCK_IMAGES = 256
"""Photos that Paillier may choose a block from; more than fit into one."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """The photos for a program, and their rows in the gallery.

    Attributes:
        rows: rows of the gallery.
        pairs: (query, index in `rows`): the pairs to compare.
    """

    rows: list[int]
    pairs: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A program, the choice of its sample, and the conversion of its answer to a row."""

    name: str
    arguments: tuple[str, ...]
    sample: Callable[[Task], Sample]
    row: Callable[[str, Document, Task, Sample], Row]


class Broken(Exception):
    """Raised if a program fails, with its last line of output."""


def measure(baseline: Baseline, task: Task, folder: Path) -> Row | LeftOut:
    """Runs a program; returns its row, or the reason for which it is left out."""
    sample = baseline.sample(task)
    path = folder / f"{baseline.name}.npz".replace(" ", "-")
    np.savez(
        path,
        gallery=task.gallery.pixels[sample.rows],
        queries=np.stack([one.pixels for one in task.asked]),
        pairs=np.array(sample.pairs, np.int64),
    )
    try:
        document = _run(baseline, path)
    except Broken as error:
        return LeftOut(baseline.name, str(error))
    return baseline.row(baseline.name, document, task, sample)


def _run(baseline: Baseline, sample: Path) -> Document:
    module, *rest = baseline.arguments
    command = [sys.executable, "-P", "-m", f"{_PACKAGE}.{module}", str(sample), *rest]
    # Its standard error is read after its end; unlike a pipe, a file never fills up.
    with sample.with_suffix(".log").open("w+", encoding="utf-8") as log:
        with (
            output.meter(f"{baseline.name}: measuring a sample") as meter,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                document = _follow(process.stdout or (), meter)
            except BaseException:
                process.terminate()
                raise
        log.seek(0)
        said = log.read().strip().splitlines()
    if document is None:
        raise Broken(f"its program failed: {said[-1] if said else f'exit code {process.returncode}'}")
    return document


def _follow(lines: Iterable[str], meter: output.Meter) -> Document | None:
    for line in lines:
        told = json.loads(line)
        if "answer" in told:
            answer: Document = told["answer"]
            return answer
        meter.update(told["done"], told["total"])
    return None


def few(task: Task) -> Sample:
    """Returns the sample of a naive program: each query's right photo, and others spread over the gallery."""
    count = len(task.gallery.pixels)
    rows: list[int] = []
    wanted: list[tuple[int, int]] = []
    for number, query in enumerate(task.queries):
        others = [row for row in _spread(count) if row != query.winner][: CANDIDATES - 1]
        wanted += [(number, row) for row in (query.winner, *others)]
        rows += [row for row in (query.winner, *others) if row not in rows]
    rows += [row for row in _spread(count) if row not in rows][: max(0, ENCRYPTIONS - len(rows))]
    return Sample(rows, [(number, rows.index(row)) for number, row in wanted])


def block(task: Task) -> Sample:
    """Returns the sample of Paillier: the right photos, then as many others as one block may hold."""
    winners = list(dict.fromkeys(query.winner for query in task.queries))
    others = [row for row in range(len(task.gallery.pixels)) if row not in winners]
    return Sample((winners + others)[:BLOCK_IMAGES], [])


def _spread(count: int) -> list[int]:
    """Returns all rows of the gallery, beginning with some that are far apart."""
    parts = ENCRYPTIONS + CANDIDATES
    apart = [row * count // parts for row in range(parts)]
    return list(dict.fromkeys([*apart, *range(count)]))


def naive_row(name: str, found: Document, task: Task, sample: Sample) -> Row:
    """Returns the row of a naive program: the figures of its sample, scaled up to all photos."""
    count, pairs = len(task.gallery.pixels), len(found["scores"])
    family = Family.CKKS if "scale_bits" in found else Family.BFV
    return Row(
        name=name,
        family=family,
        method=Method.NAIVE,
        hides="nothing: it holds the key",
        security="128-bit (classical), but the key lies beside the data",
        keygen_seconds=found["keygen_seconds"],
        encrypt_seconds=scaled(found["encrypt_seconds"], count),
        encrypt_includes="encrypting and serialising the photos, in memory",
        query_seconds=median(found["query_encrypt_seconds"]),
        compare_seconds=scaled(found["compare_seconds"], count),
        decrypt_seconds=scaled(found["decrypt_seconds"], count),
        bytes_per_image=sum(found["bytes_per_image"]) / len(found["bytes_per_image"]),
        max_error=_max_error(found["scores"], task, sample),
        answers=_answers(found["scores"], task, sample),
        scaled=("encrypt_seconds", "compare_seconds", "decrypt_seconds"),
        sample=f"{len(sample.rows)} encryptions and {pairs} comparisons",
        details={key: value for key, value in found.items() if key != "scores"},
    )


def paillier_row(name: str, found: Document, task: Task, sample: Sample) -> Row:
    """Returns the row of Paillier: the figures of one block, times the blocks of all photos."""
    count, measured = len(task.gallery.pixels), int(found["measured_images"])
    blocks = math.ceil(count / found["images_per_block"])
    whole = blocks == 1
    return Row(
        name=name,
        family=Family.PAILLIER,
        method=Method.ADDITIVE,
        hides="photos; the query is visible",
        security="128-bit (classical)",
        keygen_seconds=found["keygen_seconds"],
        encrypt_seconds=found["encrypt_seconds"] * blocks,
        encrypt_includes="encrypting the photos, in memory, on one core",
        query_seconds=0.0,
        compare_seconds=median(found["compare_seconds"]) * blocks,
        decrypt_seconds=median(found["decrypt_seconds"]) * blocks,
        bytes_per_image=found["block_bytes"] * blocks / count,
        max_error=_max_error(found["scores"], task, sample),
        answers=_answers(found["scores"], task, sample),
        scaled=() if whole else ("encrypt_seconds", "compare_seconds", "decrypt_seconds", "bytes_per_image"),
        sample="" if whole else f"{measured} photos, one of {blocks} blocks",
        details={key: value for key, value in found.items() if key != "scores"},
    )


BASELINES = (
    Baseline("naive CKKS", ("tenseal_pixels", "ckks"), few, naive_row),
    Baseline("naive BFV", ("tenseal_pixels", "bfv"), few, naive_row),
    Baseline("Paillier", ("paillier_pixels",), block, paillier_row),
)


def scaled(seconds: list[float], count: int) -> float:
    """Returns the time of `count` operations, each taken to need the median of a sample."""
    return median(seconds) * count


def _max_error(scores: list[Document], task: Task, sample: Sample) -> float | None:
    """Returns the largest error of all comparisons; None if one has no finite value."""
    errors: list[float] = []
    for one in scores:
        plain = task.values[one["query"]][sample.rows[one["image"]]].tolist()
        for got, want in zip(one["channels"], plain, strict=True):
            if got is None:
                return None
            errors.append(abs(got - want))
    return max(errors)


def _answers(scores: list[Document], task: Task, sample: Sample) -> tuple[Answer, ...]:
    return tuple(
        _answer(
            {sample.rows[one["image"]]: tuple(one["channels"]) for one in scores if one["query"] == row},
            query,
        )
        for row, query in enumerate(task.queries)
    )


def _answer(found: dict[int, Channels], query: Query) -> Answer:
    """Picks the photo whose channels are nearest to [1, 1, 1], as the reference does."""
    whole = {row: channels for row, channels in found.items() if None not in channels}
    picked = None
    if whole:
        nearest = distances(np.array(list(whole.values()), np.float64)).argmin()
        picked = list(whole)[int(nearest)]
    return Answer(picked, len(found), picked == query.winner, found.get(query.winner, ()))
