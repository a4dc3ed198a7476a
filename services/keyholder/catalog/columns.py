"""Metadata of many items by key, in arrays on which a filter is computed for all items at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.wire.metadata import All, AnyOf, Comparison, Filter, GeoBox, Has, Not, Operator, Value

Mask = npt.NDArray[np.bool_]
_LEAST_CAPACITY = 1024
_NO_ROW = -1
# To compare with each takes less than to look up what each row has.
_FEW_TEXTS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARE: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
    Operator.MATCH: lambda text, part: part.casefold() in text.casefold(),
}


class Kind(IntEnum):
    """The kind of a value; those of different kinds never compare."""

    ABSENT = 0
    TEXT = 1
    NUMBER = 2
    FLAG = 3
    TEXTS = 4
    TIME = 5


class Columns:
    """The metadata of items by row number, from 0; rows that were not set have none."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._rows = 0

    def set(self, row: int, values: Mapping[str, Value]) -> None:
        """Gives a row other metadata."""
        self._rows = max(self._rows, row + 1)
        for key, column in self._columns.items():
            if key not in values:
                column.clear(row)
        for key, value in values.items():
            self._columns.setdefault(key, _Column()).set(row, value)

    def fill(self, items: Iterable[tuple[int, Mapping[str, Value]]]) -> None:
        """Gives rows that have none yet their metadata: many at once take a fifth of the time."""
        told: dict[str, tuple[list[int], list[Value]]] = {}
        for row, values in items:
            self._rows = max(self._rows, row + 1)
            for key, value in values.items():
                rows, found = told.setdefault(key, ([], []))
                rows.append(row)
                found.append(value)
        for key, (rows, found) in told.items():
            self._columns.setdefault(key, _Column()).fill(rows, found)

    def passing(self, wanted: Filter, rows: int) -> Mask:
        """Returns which rows pass a filter: bool [rows + 1], whose last is an item without metadata."""
        match wanted:
            case Comparison():
                column = self._column(wanted.key, rows)
                return column.passing(wanted, rows) if column else _nothing(rows)
            case Has():
                column = self._column(wanted.key, rows)
                return np.asarray(column.kinds(rows) != Kind.ABSENT) if column else _nothing(rows)
            case GeoBox():
                return self._within(wanted, rows)
            case Not():
                return ~self.passing(wanted.filter, rows)
            case All():
                return _reduced(np.logical_and, [self.passing(one, rows) for one in wanted.filters], rows)
            case AnyOf():
                return _reduced(np.logical_or, [self.passing(one, rows) for one in wanted.filters], rows)

    def _within(self, box: GeoBox, rows: int) -> Mask:
        northing, easting = self._column(box.latitude, rows), self._column(box.longitude, rows)
        if northing is None or easting is None:
            return _nothing(rows)
        latitude, latitudes = northing.numbers_of(Kind.NUMBER, rows)
        longitude, longitudes = easting.numbers_of(Kind.NUMBER, rows)
        east, west = longitudes <= box.east, longitudes >= box.west
        across = (east & west) if box.west <= box.east else (east | west)
        return latitude & longitude & (latitudes >= box.south) & (latitudes <= box.north) & across

    def _column(self, key: str, rows: int) -> _Column | None:
        """Returns the values of a key; None if no row ever had one."""
        column = self._columns.get(key)
        if column is not None:
            column.reserve(rows + 1)
        return column


class _Column:
    """The values of one key."""

    def __init__(self) -> None:
        self._kinds = np.zeros(_LEAST_CAPACITY, np.uint8)
        # The value of a number, a flag or a time; the code of a text.
        self._numbers = np.zeros(_LEAST_CAPACITY, np.float64)
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []
        # Of lists: a row and the code of one of its texts, side by side; no row where a list has gone.
        self._listed = np.zeros((_LEAST_CAPACITY, 2), np.int32)
        self._pairs = 0

    def reserve(self, rows: int) -> None:
        """Makes room for so many rows."""
        missing = rows - len(self._kinds)
        if missing > 0:
            more = max(missing, len(self._kinds))
            self._kinds = np.concatenate([self._kinds, np.zeros(more, np.uint8)])
            self._numbers = np.concatenate([self._numbers, np.zeros(more, np.float64)])

    def clear(self, row: int) -> None:
        """Takes a row's value."""
        if row < len(self._kinds):
            self._unlist(row)
            self._kinds[row] = Kind.ABSENT

    def set(self, row: int, value: Value) -> None:
        """Gives a row a value."""
        self.reserve(row + 1)
        self._unlist(row)
        if isinstance(value, tuple):
            self._list(row, value)
        self._kinds[row], self._numbers[row] = self._encoded(value)

    def fill(self, rows: list[int], values: list[Value]) -> None:
        """Gives rows without a value one each."""
        self.reserve(max(rows) + 1)
        encoded = [self._encoded(value) for value in values]
        self._kinds[rows] = [kind for kind, _ in encoded]
        self._numbers[rows] = [number for _, number in encoded]
        for row, value in zip(rows, values, strict=True):
            if isinstance(value, tuple):
                self._list(row, value)

    def _list(self, row: int, texts: tuple[str, ...]) -> None:
        missing = self._pairs + len(texts) - len(self._listed)
        if missing > 0:
            more = max(missing, len(self._listed))
            self._listed = np.concatenate([self._listed, np.zeros((more, 2), np.int32)])
        for text in texts:
            self._listed[self._pairs] = row, self._code(text)
            self._pairs += 1

    def _unlist(self, row: int) -> None:
        if self._kinds[row] == Kind.TEXTS:
            pairs = self._listed[: self._pairs]
            pairs[pairs[:, 0] == row, 0] = _NO_ROW

    def _code(self, text: str) -> int:
        code = self._codes.setdefault(text, len(self._texts))
        if code == len(self._texts):
            self._texts.append(text)
        return code

    def _encoded(self, value: Value) -> tuple[Kind, float]:
        if isinstance(value, tuple):
            return Kind.TEXTS, 0
        if isinstance(value, str):
            return Kind.TEXT, self._code(value)
        if isinstance(value, bool):
            return Kind.FLAG, value
        if isinstance(value, datetime):
            return Kind.TIME, (value - _EPOCH).total_seconds()
        return Kind.NUMBER, value

    def kinds(self, rows: int) -> npt.NDArray[np.uint8]:
        """Returns the kinds of the first rows, and of one that has nothing."""
        return self._kinds[: rows + 1]

    def numbers_of(self, kind: Kind, rows: int) -> tuple[Mask, npt.NDArray[np.float64]]:
        """Returns which of the first rows have a value of a kind, and the numbers of all."""
        return self.kinds(rows) == kind, self._numbers[: rows + 1]

    def passing(self, wanted: Comparison, rows: int) -> Mask:
        """Returns which of the first rows have a value that compares so."""
        compare = _COMPARE[wanted.operator]
        if isinstance(wanted.value, str):
            return self._passing_texts(lambda text: bool(compare(text, wanted.value)), rows)
        kind, number = self._encoded(wanted.value)
        right, numbers = self.numbers_of(kind, rows)
        return np.asarray(right & compare(numbers, number))

    def _passing_texts(self, passes: Callable[[str], bool], rows: int) -> Mask:
        texts = np.fromiter(map(passes, self._texts), np.bool_, len(self._texts))
        right, codes = self.numbers_of(Kind.TEXT, rows)
        wanted = np.flatnonzero(texts)
        if len(wanted) <= _FEW_TEXTS:
            passing = right & _reduced(np.logical_or, [codes == one for one in wanted], rows)
        else:
            with np.errstate(invalid="ignore"):  # the numbers of other kinds are none of texts
                passing = right & texts.take(codes.astype(np.int32), mode="clip")
        listed, codes_listed = self._listed[: self._pairs].T
        hits = listed[texts[codes_listed]]
        passing[hits[(hits != _NO_ROW) & (hits < rows)]] = True
        return passing


def _nothing(rows: int) -> Mask:
    return np.zeros(rows + 1, np.bool_)


def _reduced(join: np.ufunc, masks: list[Mask], rows: int) -> Mask:
    """Returns masks joined; none of them: all pass `all`, and none passes `any`."""
    if not masks:
        return np.full(rows + 1, join is np.logical_and)
    return np.asarray(join.reduce(masks))


def passing_of(wanted: Filter, items: Sequence[Mapping[str, Value]]) -> list[bool]:
    """Returns which of these items, of which there may be thousands, pass a filter, by their metadata."""
    alone = Columns()
    alone.fill(enumerate(items))
    found: list[bool] = alone.passing(wanted, len(items))[: len(items)].tolist()
    return found
