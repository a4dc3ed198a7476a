"""Selection of the best of many scores."""

from __future__ import annotations

import threading
from collections.abc import Sequence
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


Live = npt.NDArray[np.bool_]
Names = npt.NDArray[np.void]
Groups = npt.NDArray[np.uint64]


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
    names: Names

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self.names)

    def first(self, count: int) -> Leaders:
        """Returns the best of them."""
        return Leaders(self.scores[:count], self.parts[:count], self.names[:count])


class Ranking:
    """The k best items for one query, of segments that may come in any order and from several threads.

    Of rows of one group, which are the vectors of one item, the best one counts.

    Args:
        reading: computes scores from products.
        k: number of items.
    """

    def __init__(self, reading: Reading, k: int) -> None:
        self.higher_is_better = reading.higher_is_better
        self.scale = reading.scale
        self._reading = reading
        self._k = k
        self._lock = threading.Lock()
        self._found: list[tuple[Leaders, Groups | None]] = []
        # No score that is worse can be among the k best any more.
        self._bar = -np.inf if self.higher_is_better else np.inf

    def add(self, products: Floats, segments: Sequence[tuple[Live | None, Names, Groups | None]]) -> None:
        """Adds segments.

        Args:
            products: [segments, fields, capacity].
            segments: for each, the slots that hold a row, None if all do; names [fill]; and groups [fill],
                None if each row is one of its own.
        """
        capacity = products.shape[2]
        by_slot = products.transpose(0, 2, 1).reshape(-1, products.shape[1])
        scores = self._reading.scores(by_slot)
        # As many as may be among the best by their score alone; then those that are no items are left out.
        good = scores >= self._bar if self.higher_is_better else scores <= self._bar
        for index, (live, names, _) in enumerate(segments):
            of_segment = good[index * capacity : (index + 1) * capacity]
            if len(names) < capacity:
                of_segment[len(names) :] = False
            if live is not None:
                of_segment[: len(names)] &= live
        slots = np.flatnonzero(good)
        if not slots.size:
            return
        groups = None
        if any(one is not None for _, _, one in segments):
            groups = _groups(slots, capacity, segments)
            best = self._best_of_groups(scores[slots], groups)
            slots, groups = slots[best], groups[best]
        best = best_of(scores[slots], self._k, largest=self.higher_is_better)
        slots, groups = slots[best], groups[best] if groups is not None else None
        names = np.array([segments[slot // capacity][1][slot % capacity] for slot in slots.tolist()], "V16")
        leaders = Leaders(scores[slots], self._reading.parts(by_slot[slots]), names)
        with self._lock:
            self._found.append((leaders, groups))
            if len(slots) == self._k:
                bar = float(leaders.scores[-1])
                self._bar = max(bar, self._bar) if self.higher_is_better else min(bar, self._bar)

    def best(self) -> Leaders:
        """Returns the best items of all segments."""
        if not self._found:
            return Leaders(np.zeros(0), np.zeros((0, 0)), np.zeros(0, "V16"))
        scores, parts, names = (
            np.concatenate([getattr(one, part) for one, _ in self._found]) for part in Leaders.__slots__
        )
        if any(groups is not None for _, groups in self._found):
            of_all = [_words(one.names) if groups is None else groups for one, groups in self._found]
            best = self._best_of_groups(scores, np.concatenate(of_all))
            scores, parts, names = scores[best], parts[best], names[best]
        chosen = best_of(scores, self._k, largest=self.higher_is_better)
        return Leaders(scores[chosen], parts[chosen], names[chosen])

    def _best_of_groups(self, scores: Floats, groups: Groups) -> npt.NDArray[np.intp]:
        """Returns the indices of the best row of each group."""
        order = np.argsort(-scores if self.higher_is_better else scores, kind="stable")
        _, first = np.unique(groups[order], return_index=True)
        return order[first]


def _groups(
    slots: npt.NDArray[np.intp], capacity: int, segments: Sequence[tuple[Live | None, Names, Groups | None]]
) -> Groups:
    """Returns the groups of slots, which are numbered through all segments."""
    made = np.zeros(len(slots), np.uint64)
    of_segment, within = np.divmod(slots, capacity)
    for index, (_, names, groups) in enumerate(segments):
        chosen = of_segment == index
        made[chosen] = (_words(names) if groups is None else groups)[within[chosen]]
    return made


def _words(names: Names) -> Groups:
    """Returns the first half of each name: the group of a row that is one of its own."""
    return names.view(np.uint64)[::2]
