"""Which rows of a collection are vectors of a name, for searches among these alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from blindsight.trusted.keyring.parts import PartKey
from blindsight.trusted.slots import Segment
from services.keyholder.catalog.columns import Mask
from services.keyholder.catalog.store import WORD_BYTES, Entry, Words


class VectorNames:
    """The names of vectors by the rows that they are in.  Any thread may use it.

    Args:
        parts: makes the handles of further vectors.
    """

    def __init__(self, parts: PartKey) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}
        self._words: dict[str, Words] = {}
        self._newer: set[int] | None = set()  # items that were put while others are loaded

    def load(self, entries: Iterable[Entry]) -> None:
        """Adds items, but for those that were put since and may have changed."""
        for entry in entries:
            with self._lock:
                if self._newer is None or _word(entry.handle) not in self._newer:
                    self._put(entry)
        with self._lock:
            self._newer = None

    def put(self, entry: Entry) -> None:
        """Adds an item, or gives it other names; those of vectors that it has no more are of no slot."""
        with self._lock:
            if self._newer is not None:
                self._newer.add(_word(entry.handle))
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        self._words.clear()
        labels = entry.metadata.vectors
        self._names.pop(_word(entry.handle), None)
        further = self._parts.handles(entry.handle, max(len(labels), 1) - 1)
        for label, handle in zip(labels, (entry.handle, *further), strict=False):
            self._names[_word(handle)] = label.name

    def among(self, name: str, segment: Segment) -> Mask:
        """Returns which slots of a segment have a vector of this name: [fill]."""
        with self._lock:
            if name not in self._words:
                rows = [word for word, one in self._names.items() if one == name]
                self._words[name] = np.array(sorted(rows), np.uint64)
            words = self._words[name]
        return np.isin(segment.words, words)


def _word(handle: bytes) -> int:
    return int.from_bytes(handle[:WORD_BYTES], "little")
