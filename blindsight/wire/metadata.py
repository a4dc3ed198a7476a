"""Metadata of items, and filters on them.

A value is a text, a number, a truth value, a list of texts, or a time.  In JSON a time is a text as of RFC
3339 (`2026-05-01T12:00:00Z`), without its offset in UTC, or a date, its midnight in UTC; every such text is a
time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import IntEnum
from typing import Any

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.printable import rfc3339
from blindsight.wire.records import Record
from blindsight.wire.times import to_datetime

Value = str | float | bool | tuple[str, ...] | datetime
Values = Mapping[str, Value]

MOST_KEYS = 64
MOST_KEY_CHARACTERS = 64
MOST_LIST_TEXTS = 256
MOST_BYTES = 16 << 10
# Of a filter.
MOST_NODES = 1000
MOST_DEPTH = 30

# Of what a float can hold, and far fewer than `int` refuses.
_MOST_DIGITS = 400

_KEY = re.compile(r"[^\W\d][\w.:-]*")
# Of what `fromisoformat` reads what has dashes and colons.
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
# Of numpy's numbers and truth values, which tables of data have; its times have no zone.
_NUMPY_KINDS = ("b", "i", "u", "f")
_WANTED = "a text, a number, true or false, a list of texts, or a time"


class Operator(IntEnum):
    """The comparison of an item's value with another.  Values of different kinds never compare."""

    EQUAL = pb.OPERATOR_EQUAL
    LESS = pb.OPERATOR_LESS
    LESS_OR_EQUAL = pb.OPERATOR_LESS_OR_EQUAL
    GREATER = pb.OPERATOR_GREATER
    GREATER_OR_EQUAL = pb.OPERATOR_GREATER_OR_EQUAL
    # A text has another in it, whatever the case of letters.
    MATCH = pb.OPERATOR_MATCH


@dataclass(frozen=True, slots=True)
class Comparison:
    """Items that have a key, and a value there that compares so; of a list, any of its texts."""

    key: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Has:
    """Items that have a key."""

    key: str


@dataclass(frozen=True, slots=True)
class GeoBox:
    """Items at a place within a box, in degrees; one with west over east crosses the 180th meridian."""

    south: float
    west: float
    north: float
    east: float
    latitude: str = "latitude"
    longitude: str = "longitude"


@dataclass(frozen=True, slots=True)
class Not:
    """Items that a filter does not pass, also those that lack its keys."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class All:
    """Items that all filters pass."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Items that a filter passes at least."""

    filters: tuple[Filter, ...]


Filter = Comparison | Has | GeoBox | Not | All | AnyOf


def checked(values: Mapping[Any, Any]) -> dict[str, Value]:
    """Returns metadata as they are kept: lists as tuples, times in UTC.

    Raises:
        InvalidArgument: if a key or a value is none, or if they are too many or too long.
    """
    if not isinstance(values, Mapping):
        raise InvalidArgument(f"metadata of type {type(values).__name__}, want keys and values")
    if len(values) > MOST_KEYS:
        raise InvalidArgument(f"metadata of {len(values)} keys, want at most {MOST_KEYS}")
    kept = {checked_key(key): _checked(key, value) for key, value in values.items()}
    kept = dict(sorted(kept.items()))
    size = sum(len(key.encode()) + _size_bytes(key, value) for key, value in kept.items())
    if size > MOST_BYTES:
        raise InvalidArgument(f"metadata of {size:,} bytes, want at most {MOST_BYTES:,}")
    return kept


def checked_key(key: object) -> str:
    """Returns a key of metadata.

    Raises:
        InvalidArgument: if it is not a word of at most 64 characters.
    """
    if not isinstance(key, str) or len(key) > MOST_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise InvalidArgument(
            f"metadata key {key!r:.80}, want a word of at most {MOST_KEY_CHARACTERS} characters: "
            "letters, digits, _ . : and -, a letter first"
        )
    return key


def _checked(key: object, value: Any) -> Value:
    if getattr(getattr(value, "dtype", None), "kind", "") in _NUMPY_KINDS and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        number = _finite(value)
        if number is None:
            raise InvalidArgument(
                f"metadata {key!r:.80}: {value!r:.60}, want a number from -1.7e308 to 1.7e308"
            )
        return number
    if isinstance(value, date) and not isinstance(value, datetime):  # as the text of one
        value = datetime.combine(value, time(), UTC)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(f"metadata {key!r:.80}: a time without a time zone, want one with it")
        return value.astimezone(UTC)
    if isinstance(value, list | tuple) and len(value) <= MOST_LIST_TEXTS:
        texts = tuple(one for one in value if isinstance(one, str))
        if len(texts) == len(value):
            return texts
    raise InvalidArgument(f"metadata {key!r:.80}: {value!r:.60}, want {_WANTED}")


def _finite(value: float) -> float | None:
    """Returns a number as an integer if it is one; None if it is not finite or too large."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number


def joined(of_all: Values, own: Values) -> dict[str, Value]:
    """Returns what is said of all items together with what is said of one, which goes before.

    Raises:
        InvalidArgument: if it is too much.
    """
    return checked({**of_all, **own})


def _size_bytes(key: str, value: Value) -> int:
    """Returns the size of a value as JSON, in which it is sealed: a control character takes six bytes."""
    if isinstance(value, str | tuple):
        try:
            return len(json.dumps(value, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            raise InvalidArgument(f"metadata {key!r:.80} is no UTF-8 text") from None
    return 24


def loads(written: str | bytes) -> Any:
    """Returns what a text of JSON says; a number of more digits than Python reads is infinite.

    Raises:
        ValueError, RecursionError: if it is none.
    """
    return json.loads(
        written, parse_int=lambda digits: int(digits) if len(digits) < _MOST_DIGITS else math.inf
    )


def from_json(values: Mapping[Any, Any]) -> dict[str, Value]:
    """Returns metadata that stand in JSON.

    Raises:
        InvalidArgument: see `checked`.
    """
    return checked({key: time_of(value) for key, value in values.items()})


def time_of(value: object) -> object:
    """Returns the time that a text is, in UTC unless it says its offset; anything else as it is."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError:
            return value
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return value


def to_json(values: Values) -> dict[str, Any]:
    """Returns metadata as they stand in JSON."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Value) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Metadata(Record[pb.Metadata]):
    """What an owner says of an item."""

    values: Values = field(default_factory=dict)

    def to_message(self) -> pb.Metadata:
        """Converts metadata to their message."""
        message = pb.Metadata()
        for key, value in self.values.items():
            _write(message.values[key], value)
        return message

    @classmethod
    def from_message(cls, message: pb.Metadata) -> Metadata:
        """Converts the message of metadata.

        Raises:
            InvalidArgument: see `checked`.
        """
        return cls(checked({key: _read(value) for key, value in message.values.items()}))


NO_METADATA = Metadata()


@dataclass(frozen=True, slots=True)
class Where(Record[pb.Filter]):
    """A filter in a message."""

    filter: Filter

    def to_message(self) -> pb.Filter:
        """Converts the filter to its message."""
        return _filter_message(self.filter)

    @classmethod
    def from_message(cls, message: pb.Filter) -> Where:
        """Converts the message of a filter.

        Raises:
            InvalidArgument: if a part is none, or if it is too large.
        """
        return cls(_filter(message, MOST_DEPTH, [0]))


def _write(message: pb.Value, value: Value) -> None:
    if isinstance(value, bool):
        message.flag = value
    elif isinstance(value, str):
        message.text = value
    elif isinstance(value, datetime):
        message.time.FromDatetime(value)
    elif isinstance(value, tuple):
        message.texts.values.extend(value)
        message.texts.SetInParent()
    else:
        message.number = value


def _read(message: pb.Value) -> object:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    value = getattr(message, kind)
    if kind == "texts":
        return tuple(value.values)
    return to_datetime(value) if kind == "time" else value


def _filter_message(wanted: Filter) -> pb.Filter:
    message = pb.Filter()
    match wanted:
        case Comparison():
            message.comparison.key = wanted.key
            message.comparison.operator = pb.Operator.ValueType(wanted.operator)
            _write(message.comparison.value, wanted.value)
        case Has():
            message.has.key = wanted.key
        case GeoBox():
            for name in GeoBox.__slots__:
                setattr(message.within, name, getattr(wanted, name))
            message.within.SetInParent()
        case Not():
            message.negated.CopyFrom(_filter_message(wanted.filter))
        case All():
            message.all.filters.extend(map(_filter_message, wanted.filters))
            message.all.SetInParent()
        case AnyOf():
            message.any.filters.extend(map(_filter_message, wanted.filters))
            message.any.SetInParent()
    return message


def _filter(message: pb.Filter, depth: int, nodes: list[int]) -> Filter:
    nodes[0] += 1
    if depth < 0 or nodes[0] > MOST_NODES:
        raise InvalidArgument(
            f"a filter of more than {MOST_NODES} parts or {MOST_DEPTH} levels, want a smaller one"
        )
    match message.WhichOneof("kind"):
        case "comparison":
            return _comparison(message.comparison)
        case "has":
            return Has(checked_key(message.has.key))
        case "within":
            return _geo_box(message.within)
        case "negated":
            return Not(_filter(message.negated, depth - 1, nodes))
        case "all":
            return All(_filters(message.all.filters, depth, nodes))
        case "any":
            return AnyOf(_filters(message.any.filters, depth, nodes))
    raise InvalidArgument("a filter without a part, want a comparison, has, within, negated, all or any")


def _filters(messages: Iterable[pb.Filter], depth: int, nodes: list[int]) -> tuple[Filter, ...]:
    return tuple(_filter(one, depth - 1, nodes) for one in messages)


def _comparison(message: pb.Comparison) -> Comparison:
    key = checked_key(message.key)
    try:
        operator = Operator(message.operator)
    except ValueError:
        wanted = ", ".join(Operator.__members__)
        raise InvalidArgument(f"operator {message.operator} for {key!r}, want {wanted}") from None
    return comparison(key, operator, _read(message.value))


def comparison(key: str, operator: Operator, value: object) -> Comparison:
    """Returns a comparison.

    Raises:
        InvalidArgument: if values of this kind do not compare so.
    """
    kept = _checked(key, value)
    if isinstance(kept, tuple):
        raise InvalidArgument(f"{key} compared with a list, want one text: a list has it or not")
    if isinstance(kept, bool) and operator is not Operator.EQUAL:
        raise InvalidArgument(f"{key} compared with {kept} by {operator.name.lower()}, want equal")
    if operator is Operator.MATCH and not isinstance(kept, str):
        raise InvalidArgument(f"{key} matched with {kept!r}, want a text")
    return Comparison(key, operator, kept)


def _geo_box(message: pb.GeoBox) -> GeoBox:
    box = GeoBox(
        message.south,
        message.west,
        message.north,
        message.east,
        checked_key(message.latitude or "latitude"),
        checked_key(message.longitude or "longitude"),
    )
    return geo_box(box)


def geo_box(box: GeoBox) -> GeoBox:
    """Checks a box.

    Raises:
        InvalidArgument: if it is none.
    """
    latitudes_right = -90 <= box.south <= box.north <= 90
    if not (latitudes_right and abs(box.west) <= 180 and abs(box.east) <= 180):
        raise InvalidArgument(
            f"a box from {box.south}, {box.west} to {box.north}, {box.east}, want south, west, north, east "
            "in degrees, south below north"
        )
    return box
