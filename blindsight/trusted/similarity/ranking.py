"""Selection of the best of many scores."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.packing.columns import Floats
from blindsight.trusted.similarity.linear import Reading


def best_of(values: Floats, k: int, *, largest: bool) -> npt.NDArray[np.intp]:
    """Returns the indices of the k best values, best first; all of them if there are fewer.

    Args:
        values: [count].
        k: at least 1.
        largest: whether large values are better.
    """
    badness = -values if largest else values
    if len(badness) <= k:
        return np.argsort(badness, kind="stable")
    chosen = np.argpartition(badness, k - 1)[:k]
    return chosen[np.argsort(badness[chosen], kind="stable")]


@dataclass(frozen=True, slots=True, eq=False)
class Leaders:
    """The best items of a ranking, best first.

    Attributes:
        scores: [count].
        parts: [count, parts], the components of each score.
        names: [count], what the caller calls the items.
    """

    scores: Floats
    parts: Floats
    names: npt.NDArray[np.void]


class Ranking:
    """The k best items for one query, of segments that may come in any order and from several threads.

    Args:
        reading: computes scores from products.
        k: number of items.
    """

    def __init__(self, reading: Reading, k: int) -> None:
        self.higher_is_better = reading.higher_is_better
        self._reading = reading
        self._k = k
        self._lock = threading.Lock()
        self._found: list[Leaders] = []
        # No score that is worse can be among the k best any more.
        self._bar = -np.inf if self.higher_is_better else np.inf

    def add(self, products: Floats, live: npt.NDArray[np.bool_], names: npt.NDArray[np.void]) -> None:
        """Adds a segment.

        Args:
            products: [fields, capacity].
            live: bool [fill], true for slots that hold an item.
            names: [fill].
        """
        largest = self.higher_is_better
        scores = self._reading.scores(products[:, : len(live)].T)
        good = live & (scores >= self._bar if largest else scores <= self._bar)
        slots = np.flatnonzero(good)
        if not slots.size:
            return
        slots = slots[best_of(scores[slots], self._k, largest=largest)]
        parts = self._reading.parts(products[:, slots].T)
        leaders = Leaders(scores[slots], parts, names[slots])
        with self._lock:
            self._found.append(leaders)
            if len(slots) == self._k:
                bar = float(leaders.scores[-1])
                self._bar = max(bar, self._bar) if largest else min(bar, self._bar)

    def best(self) -> Leaders:
        """Returns the best items of all segments."""
        if not self._found:
            return Leaders(np.zeros(0), np.zeros((0, 0)), np.zeros(0, "V16"))
        scores, parts, names = (
            np.concatenate([getattr(one, part) for one in self._found]) for part in Leaders.__slots__
        )
        chosen = best_of(scores, self._k, largest=self.higher_is_better)
        return Leaders(scores[chosen], parts[chosen], names[chosen])
