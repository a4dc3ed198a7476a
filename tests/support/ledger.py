"""Which answers a search may give while others change the collection."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from blindsight.client import SearchAnswer

BOUND = 2e-4


@dataclass
class Ledger:
    """What clients did to a collection and were told: says which answers a search may give.

    An item is surely there from the answer of its ingest to the call of its deletion, and surely not
    there before the call of its ingest and after the answer of its deletion.
    """

    rows: np.ndarray
    offered: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    doomed: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, which: set[int], rows: range) -> None:
        with self.lock:
            which.update(rows)

    def before(self) -> tuple[set[int], set[int]]:
        """Items that are surely there, and those that are surely gone, as a search begins."""
        with self.lock:
            return set(self.stored), set(self.deleted)

    def check(
        self, before: tuple[set[int], set[int]], queries: np.ndarray, answer: SearchAnswer, k: int
    ) -> None:
        """Nothing is missing, nothing is made up, and every score is numpy's."""
        there, gone = before
        with self.lock:
            there -= self.doomed
            possible = self.offered - gone
        for query, hits in zip(queries, answer.results, strict=True):
            scores = self.rows @ query
            rows = [int(hit.id) for hit in hits]
            assert len(set(rows)) == len(rows) <= k
            assert set(rows) <= possible
            np.testing.assert_allclose([hit.score for hit in hits], scores[rows], rtol=0, atol=BOUND)
            worst = hits[-1].score if len(hits) else -1.0
            missing = {row for row in there - set(rows) if scores[row] > worst + 2 * BOUND}
            assert not missing, f"{len(missing)} items are missing in {len(hits)} hits"
