"""Fuzzing of every parser that faces the untrusted zone or a client: targets, and what feeds them.

A target takes any bytes.  It may raise a BlindsightError of one line; anything else is a find.  In `tests`,
`python -m support.fuzz` runs them guided by coverage, where atheris is installed.
"""

from __future__ import annotations

import base64
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

import blindsight.wire
from blindsight.errors import BlindsightError
from blindsight.wire.records import Record, message_type

CORPUS = Path(__file__).parent / "corpus.json"
Target = Callable[[bytes], object]

# What programs forget: the ends of ranges, and the steps between signed and unsigned.
_NUMBERS = (
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    256,
    4096,
    65535,
    1 << 31,
    (1 << 32) - 1,
    1 << 53,
    1 << 62,
    (1 << 63) - 1,
)
_REALS = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_DEPTH = 4


class Draw:
    """Decisions, drawn from bytes; zero when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, count: int) -> int:
        """A number below a count of at most 256."""
        at, self._at = self._at, self._at + 1
        return self._data[at] % count if at < len(self._data) else 0

    def bytes(self, most: int) -> bytes:
        """At most so many bytes."""
        size = min(self.below(256), most)
        at, self._at = self._at, self._at + size
        return self._data[at : self._at]

    def number(self) -> int:
        """A whole number of 64 bits, often a special one."""
        if self.below(2):
            return _NUMBERS[self.below(len(_NUMBERS))]
        return int.from_bytes(self.bytes(8), "little")


def mutated(example: bytes, draw: Draw) -> bytes:
    """A valid input with a few changes."""
    data = bytearray(example)
    for _ in range(draw.below(4)):
        at = draw.number() % (len(data) + 1)
        kind = draw.below(4)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at:at] = draw.bytes(16)
        elif kind == 2:
            data[at : at + 8] = draw.number().to_bytes(8, "little")
        elif at < len(data):
            data[at] ^= 1 << draw.below(8)
    return bytes(data)


def filled(message: Any, draw: Draw, depth: int = _DEPTH) -> Any:
    """A message with drawn values in drawn fields."""
    descriptor: Descriptor = message.DESCRIPTOR
    for field in descriptor.fields:
        if draw.below(4):
            for _ in range(draw.below(4) if field.is_repeated else 1):
                _fill(message, field, draw, depth)
    return message


def _fill(message: Any, field: FieldDescriptor, draw: Draw, depth: int) -> None:
    if field.message_type is not None:
        if depth and not field.message_type.GetOptions().map_entry:
            inner = getattr(message, field.name)
            part = inner.add() if field.is_repeated else inner
            part.SetInParent() if not field.is_repeated else None
            filled(part, draw, depth - 1)
        return
    value = _value(field, draw)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _value(field: FieldDescriptor, draw: Draw) -> Any:
    kind = field.cpp_type
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _REALS[draw.below(len(_REALS))]
    if kind == FieldDescriptor.CPPTYPE_STRING:
        data = draw.bytes(64)
        return data if field.type == FieldDescriptor.TYPE_BYTES else data.decode("utf-8", "replace")
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return bool(draw.below(2))
    bits = 64 if kind in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64) else 32
    signed = kind in (
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_ENUM,
    )
    value = draw.number() % (1 << bits)
    return value - (1 << bits) if signed and value >= 1 << bits - 1 else value


def records() -> Iterator[type[Record[Any]]]:
    """All records of the wire that are read from messages."""
    for module in pkgutil.iter_modules(blindsight.wire.__path__):
        importlib.import_module(f"blindsight.wire.{module.name}")
    waiting: list[type[Record[Any]]] = [Record]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("blindsight.wire.") and kind is not Record:
            yield kind


def reads_record(kind: type[Record[Any]]) -> Target:
    """A target: the bytes of a message, or decisions of which one is made."""

    def target(data: bytes) -> None:
        message = message_type(kind)()
        if data[:1] == b"\0":
            try:
                message.ParseFromString(data[1:])
            except DecodeError:
                return
        else:
            filled(message, Draw(data[1:]))
        kind.from_message(message)

    return target


def reads(read: Callable[[bytes], object], *examples: bytes) -> Target:
    """A target: examples with changes, or any bytes."""

    def target(data: bytes) -> None:
        draw = Draw(data)
        chosen = draw.below(1 + len(examples))
        read(data[1:] if chosen == 0 else mutated(examples[chosen - 1], draw))

    return target


def tried(target: Target, data: bytes) -> bool:
    """Runs a target; returns whether it took the bytes, raises what it must not raise."""
    try:
        target(data)
    except BlindsightError as error:
        said = error.message
    else:
        return True
    assert said
    assert "\n" not in said, said
    return False


def corpus() -> dict[str, list[bytes]]:
    """Small cases of each target, found by coverage."""
    return {
        name: list(map(base64.b64decode, cases)) for name, cases in json.loads(CORPUS.read_text()).items()
    }
