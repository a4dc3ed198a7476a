"""The reference without encryption: squared cosines by numpy, and each query's right photo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.cli.compare.photos import Asked, Gallery, Pixels
from blindsight.cli.compare.results import Answer, Family, Method, Query, Row

_BLOCK = 256  # photos as floats at a time

Values = npt.NDArray[np.float64]
"""Squared cosines, [n, 3]."""


def squared_cosines(gallery: Pixels, query: Pixels) -> Values:
    """Returns (a.b)^2 / (a.a b.b) of each channel: [n, 3]; the sums are integers, and exact in float64."""
    asked = query.astype(np.float64)
    length = (asked**2).sum(axis=1)
    found = []
    for start in range(0, len(gallery), _BLOCK):
        rows = gallery[start : start + _BLOCK].astype(np.float64)
        found.append(np.einsum("ncp,cp->nc", rows, asked) ** 2 / ((rows**2).sum(axis=2) * length))
    return np.concatenate(found)


def distances(values: Values) -> npt.NDArray[np.float64]:
    """Returns the Euclidean distances to [1, 1, 1]: [n]; lower is better."""
    distance: npt.NDArray[np.float64] = np.linalg.norm(values - 1.0, axis=1)
    return distance


@dataclass(frozen=True, slots=True)
class Task:
    """The task of every scheme, and its right answers.

    Attributes:
        gallery: the photos to store.
        asked: the query photos.
        queries: the right answers.
        values: squared cosines [n, 3] of each query.
    """

    gallery: Gallery
    asked: Sequence[Asked]
    queries: Sequence[Query]
    values: Sequence[Values]


def judge(gallery: Gallery, asked: Sequence[Asked]) -> tuple[Task, Row]:
    """Compares in plaintext; returns the task with the right answers, and numpy's row of the report."""
    queries, values, seconds = [], [], []
    for one in asked:
        started = time.perf_counter()
        found = squared_cosines(gallery.pixels, one.pixels)
        order = np.argsort(distances(found), kind="stable")
        seconds.append(time.perf_counter() - started)
        values.append(found)
        best, second = distances(found)[order[:2]]
        channels = tuple(found[order[0]].tolist())
        queries.append(Query(one.name, one.image, int(order[0]), channels, float(second - best)))
    row = Row(
        name="numpy",
        family=Family.PLAINTEXT,
        method=Method.PLAINTEXT,
        hides="nothing",
        security="none: plaintext",
        keygen_seconds=None,
        encrypt_seconds=0.0,
        encrypt_includes="nothing is encrypted",
        query_seconds=0.0,
        compare_seconds=float(np.median(seconds)),
        decrypt_seconds=0.0,
        bytes_per_image=float(gallery.pixels[0].nbytes),
        max_error=0.0,
        answers=tuple(Answer(one.winner, len(gallery.pixels), True, one.channels) for one in queries),
        details={"version": np.__version__},
    )
    return Task(gallery, asked, queries, values), row
