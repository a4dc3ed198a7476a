"""The rows of a collection's catalog in memory: a number for each item, and where each slot's item stands."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.packing.segments import SegmentId
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.slots import Segment, SlotMap
from blindsight.wire.metadata import Filter, Value
from services.keyholder.catalog.columns import Columns, Mask
from services.keyholder.catalog.store import WORD_BYTES, Words

# Rows that were added since the index was sorted.
_MOST_RECENT = 4096
_LEAST_CAPACITY = 1024
# Of a slot whose item has nothing sealed, and of one whose entry is still to come.
_NONE, _UNKNOWN = -1, np.iinfo(np.int32).max

Numbers = npt.NDArray[np.int32]


class Rows:
    """The entries of one collection by row number.  Any thread may use it.

    Args:
        words: first words of their handles, uint64 [n].
        versions: uint64 [n].
    """

    def __init__(self, words: Words, versions: Words) -> None:
        self._lock = threading.RLock()
        self._count = len(words)
        self._words, self._versions = words, versions
        self._known = np.ones(self._count, np.bool_)  # rows that a slot had, or that were here at the start
        self._order, self._recent = np.argsort(words).astype(np.int32), dict[int, int]()
        self._sorted = words[self._order]
        # By segment the rows of its slots; of those in `_partial` not every item had its entry yet.
        self._segments: dict[SegmentId, tuple[Segment, Numbers]] = {}
        self._partial: set[SegmentId] = set()
        self._joined: _Joined | None = None
        self._columns: Columns | None = None
        # Columns that are being loaded, and the rows that were put since, which are newer than what is read.
        self._loading: Columns | None = None
        self._newer: set[int] = set()
        self._moved = False  # whether slots changed since the last search for entries of none

    @property
    def has_columns(self) -> bool:
        """Whether metadata were loaded, without which no filter can be computed."""
        return self._columns is not None

    def begin_loading(self) -> None:
        """Begins to load the metadata of all rows, in as many parts as the caller likes."""
        with self._lock:
            self._loading, self._newer = Columns(), set()

    def load(self, entries: Sequence[tuple[int, Mapping[str, Value]]]) -> None:
        """Loads the metadata of some rows that have any, by the first word of their handle."""
        with self._lock:
            if self._loading is None:
                raise RuntimeError("no loading has begun")
            rows = self._find(np.array([word for word, _ in entries], np.uint64))
            self._loading.fill(
                (row, values)
                for row, (_, values) in zip(rows.tolist(), entries, strict=True)
                if row != _NONE and row not in self._newer
            )

    def end_loading(self) -> None:
        """Ends the loading: filters can be computed from now on."""
        with self._lock:
            self._columns, self._loading, self._newer = self._loading, None, set()

    def _set(self, row: int, values: Mapping[str, Value]) -> None:
        if self._columns is not None:
            self._columns.set(row, values)
        elif self._loading is not None:
            self._loading.set(row, values)
            self._newer.add(row)

    def put(self, word: int, version: int, values: Mapping[str, Value]) -> None:
        """Adds an entry, or gives it another version and other metadata."""
        with self._lock:
            row = self._row(word)
            self._versions[row] = version
            self._set(row, values)

    def _row(self, word: int) -> int:
        """Returns the row of an item, a new one if it has none."""
        found = int(self._find(np.array([word], np.uint64))[0])
        if found != _NONE:
            return found
        if self._count == len(self._words):
            more = max(self._count, _LEAST_CAPACITY)
            self._words = np.concatenate([self._words, np.zeros(more, np.uint64)])
            self._versions = np.concatenate([self._versions, np.zeros(more, np.uint64)])
            self._known = np.concatenate([self._known, np.zeros(more, np.bool_)])
        row, self._count = self._count, self._count + 1
        self._words[row] = word
        self._recent[word] = row
        if len(self._recent) > max(_MOST_RECENT, self._count // 8):
            self._order = np.argsort(self._words[: self._count]).astype(np.int32)
            self._sorted, self._recent = self._words[self._order], {}
        return row

    def _find(self, words: Words) -> Numbers:
        """Returns the rows of items by the first words of their handles, -1 without one."""
        rows = np.full(len(words), _NONE, np.int32)
        if len(self._sorted):
            at = np.minimum(np.searchsorted(self._sorted, words), len(self._sorted) - 1)
            rows = np.where(self._sorted[at] == words, self._order[at], rows)
        if self._recent:
            for slot in np.flatnonzero(rows == _NONE):
                rows[slot] = self._recent.get(int(words[slot]), _NONE)
        return rows

    def reach(self, slots: SlotMap) -> list[bytes]:
        """Notes which slots have which items; returns the handles of those without an up-to-date entry."""
        missing: list[bytes] = []
        with self._lock:
            gone = self._segments.keys() - slots.segments.keys()
            if gone:
                self._moved, self._joined = True, None
            for key in gone:
                del self._segments[key]
            self._partial -= gone
            for key, segment in slots.segments.items():
                known = self._segments.get(key)
                if known is not None and known[0] is segment and key not in self._partial:
                    continue
                self._moved, self._joined = True, None
                rows = self._rows_of(segment)
                lacking = self._lacking(segment, rows)
                missing += [segment.handles[slot].tobytes() for slot in lacking]
                self._segments[key] = segment, rows
                unknown = len(lacking) or (rows[segment.further] == _UNKNOWN).any()
                (self._partial.add if unknown else self._partial.discard)(key)
        return missing

    def _lacking(self, segment: Segment, rows: Numbers) -> npt.NDArray[np.intp]:
        """Returns the slots whose items should have an entry, and have none or one of another version."""
        there = (rows >= 0) & (rows < self._count)
        lacking = rows == _UNKNOWN
        lacking[there] = self._versions[rows[there]] != segment.unmarked_versions[there]
        return np.flatnonzero(lacking & segment.live & (segment.unmarked_versions != 0))

    def _rows_of(self, segment: Segment) -> Numbers:
        """Returns the rows of a segment's slots, `_NONE` or `_UNKNOWN` without one: [fill].

        The version of an entry may be another: while an item changes, a search finds it as it was or as it
        will be, and not as gone.
        """
        rows = self._find(segment.item_words)  # of further vectors those of their items
        gone = self._versions[rows] == 0 if self._count else True
        rows = np.where((rows == _NONE) | gone, np.int32(_UNKNOWN), rows)
        bare = segment.unmarked_versions == 0
        bare[segment.further] = False
        return np.where(bare, np.int32(_NONE), rows)

    def stale(self) -> Words:
        """Returns the first words of entries whose items are gone, and drops them."""
        with self._lock:
            if not self._moved:
                return self._words[:0]
            self._moved = False
            live = np.zeros(len(self._words), np.bool_)
            for key, (segment, rows) in self._segments.items():
                # Entries that came since are those of items that are here.
                found = self._find(segment.item_words) if key in self._partial else rows
                live[found[(found >= 0) & (found < self._count)]] = True
            gone = np.flatnonzero(self._known & ~live)
            self._known[: len(live)] = live
            for row in gone.tolist():
                self._set(row, {})
            self._versions[gone] = 0
            return self._words[gone]

    def passing(self, wanted: Filter | None) -> Selection:
        """Computes a filter for all items; its metadata must have been loaded.  None: all pass."""
        with self._lock:
            if wanted is None:
                return Selection(self, np.ones(self._count + 1, np.bool_), every=True)
            if self._columns is None:
                raise RuntimeError("metadata were not loaded")
            mask = self._columns.passing(wanted, self._count)
            if self._joined is None:
                self._joined = _Joined.of(self._segments, self._partial)
            return Selection(self, mask, self._joined)

    def rows_with(self, words: Words) -> Numbers:
        """Returns the rows of items that are in the slot map by the first words of their handles, else -1."""
        with self._lock:
            rows = self._find(words)
            there = (rows != _NONE) & self._known[rows] if self._count else np.zeros(len(rows), np.bool_)
            return np.where(there, rows, np.int32(_NONE))

    def rows_of(self, key: SegmentId, segment: Segment) -> Numbers:
        """Returns the rows of a segment's slots; see `_rows_of`."""
        known = self._segments.get(key)
        if known is not None and known[0] is segment and key not in self._partial:
            return known[1]
        with self._lock:
            return self._rows_of(segment)


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """The rows of many segments in one array: a filter for each alone is three times the work.

    Attributes:
        rows: [slots].
        starts: by segment where its rows begin, and the segment as it was then.
    """

    rows: Numbers
    starts: Mapping[SegmentId, tuple[int, Segment]]

    @classmethod
    def of(
        cls, segments: Mapping[SegmentId, tuple[Segment, Numbers]], but: AbstractSet[SegmentId]
    ) -> _Joined:
        """Joins segments but for some."""
        parts, starts, at = [np.zeros(0, np.int32)], {}, 0
        for key, (segment, rows) in segments.items():
            if key not in but:
                starts[key] = at, segment
                parts.append(rows)
                at += len(rows)
        return cls(np.concatenate(parts), starts)


class Selection:
    """The items that pass a filter.

    Args:
        rows: of their collection.
        mask: bool [count + 1], whose last stands for items without an entry.
        joined: the rows of its segments; None: of none.
        every: whether it passes all items, also those of which nothing is known.
    """

    def __init__(self, rows: Rows, mask: Mask, joined: _Joined | None = None, *, every: bool = False) -> None:
        self._rows = rows
        # As row numbers index it: -1 is the last; one that came since, or is still to come, is cut to the one
        # before, which passes nothing.
        self._mask = np.concatenate([mask[:-1], [False], mask[-1:]])
        self._every = every
        self._starts: Mapping[SegmentId, tuple[int, Segment]] = joined.starts if joined is not None else {}
        self._slots = self._of(joined.rows) if joined is not None else mask[:0]

    @property
    def bare(self) -> bool:
        """Whether items without metadata pass."""
        return bool(self._mask[-1])

    def of(self, key: SegmentId, segment: Segment) -> Mask:
        """Returns which live slots of a segment have a vector of an item that passes: [fill]."""
        if self._every:
            return segment.live
        start, known = self._starts.get(key, (0, None))
        if known is segment:
            return self._slots[start : start + segment.fill] & segment.live
        return np.asarray(self._of(self._rows.rows_of(key, segment)) & segment.live)

    def entries(self, handles: Sequence[bytes]) -> Mask:
        """Returns which of these handles are those of items with metadata that pass: [n]."""
        words = np.frombuffer(b"".join(handles), np.uint64)[:: HANDLE_BYTES // WORD_BYTES]
        rows = self._rows.rows_with(words)
        return np.asarray(self._of(rows) & (rows != _NONE))

    def _of(self, rows: Numbers) -> Mask:
        return self._mask.take(np.minimum(rows, len(self._mask) - 2))
