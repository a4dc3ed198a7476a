"""What the untrusted services are told, field by field, as a relay saw it; and what docs/leakage.md says."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from blindsight.ciphertext.header import SEALED_MAGIC, SEALED_OVERHEAD_BYTES
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.trusted.keyring.padding import padme
from support.relay import Call

PAGE = Path(__file__).parents[2] / "docs" / "leakage.md"
CONTRACTS = {"evaluator": evaluator_pb2, "storage": storage_pb2}
# Bytes that hide something cannot be made shorter than this; residues of 27 bits take words of 32.
_LEAST_COMPRESSED = 0.8
_LARGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a message: SERVICE.MESSAGE.FIELD, and what stood there."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says of a field or a column."""

    kind: str
    sizes: tuple[int, ...]
    tells: str


def methods() -> dict[str, MethodDescriptor]:
    """Every rpc of the untrusted services, by its path."""
    return {
        f"/{service.full_name}/{method.name}": method
        for contract in CONTRACTS.values()
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


METHODS = methods()


def short(message: Descriptor) -> str:
    """SERVICE.MESSAGE."""
    return f"{message.full_name.split('.')[1]}.{message.name}"


def all_fields() -> set[str]:
    """Every field that some message of theirs can have, those that hold messages left out."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [kind for method in METHODS.values() for kind in (method.input_type, method.output_type)]
    while todo:
        message = todo.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for one in message.fields:
            if one.message_type:
                todo.append(one.message_type)
            else:
                found.add(f"{short(message)}.{one.name}")
    return found


def messages(call: Call) -> Iterator[tuple[str, Message]]:
    """The messages of a call, in either direction."""
    method = METHODS[call.method]
    for side, kind, parts in (
        ("asked", method.input_type, call.asked),
        ("answered", method.output_type, call.answered),
    ):
        for part in parts:
            message = kind._concrete_class()
            message.ParseFromString(part)
            yield side, message


def fields_of(message: Message) -> Iterator[Field]:
    """Every value of a message, of those inside it too."""
    for field, value in message.ListFields():
        values: Iterable[Any] = value if field.is_repeated else [value]
        for one in values:
            if field.message_type:
                yield from fields_of(one)
            else:
                yield Field(f"{short(message.DESCRIPTOR)}.{field.name}", one)


def counts_of(message: Message) -> Iterator[tuple[str, int]]:
    """How long every list of a message is, by the name of its field."""
    for field, value in message.ListFields():
        if field.is_repeated:
            yield field.name, len(value)
        if field.message_type:
            for one in value if field.is_repeated else [value]:
                yield from counts_of(one)


def counts(call: Call) -> str:
    """A call and how much it told: the lengths of all lists in it, those of one name added up."""
    told: dict[str, int] = {}
    for _, message in messages(call):
        for name, count in counts_of(message):
            told[name] = told.get(name, 0) + count
    return " ".join([call.method.rpartition("/")[2], *(f"{name}={told[name]}" for name in sorted(told))])


def shape(call: Call, rows: dict[str, Row]) -> list[Any]:
    """A call as somebody sees it to whom random bytes are all alike; times and memory are left out."""

    def seen(message: Message) -> list[Any]:
        return [
            (field.name, seen(one) if field.message_type else alike(message, field, one))
            for field, value in message.ListFields()
            for one in (value if field.is_repeated else [value])
        ]

    def alike(message: Message, field: FieldDescriptor, value: Any) -> Any:
        kind = rows[f"{short(message.DESCRIPTOR)}.{field.name}"].kind
        if kind in ("seconds", "time", "memory", "version"):
            return kind
        return (kind, len(value)) if isinstance(value, bytes) else value

    return [call.method, *((side, seen(message)) for side, message in messages(call))]


# --- the page ------------------------------------------------------------------------------------


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the page."""
    text = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def rows(heading: str) -> dict[str, Row]:
    """What the page says of each field under a heading: owner | fields | what | what it tells."""
    found: dict[str, Row] = {}
    for owner, fields, kind, tells in table(heading):
        for field in re.findall(r"`(\w+)`", fields):
            name = f"{owner.strip('`')}.{field}"
            assert name not in found, f"{name} stands there twice"
            word, *sizes = kind.split()
            found[name] = Row(word, tuple(int(size.strip(",").replace(",", "")) for size in sizes), tells)
    return found


@dataclass(frozen=True, slots=True)
class Listed:
    """Calls that the page lists: how many, of which rpc, with lists how long."""

    times: int
    repeated: bool
    pattern: str

    def matches(self, told: str) -> bool:
        """Whether `counts` of a call is what the page says."""
        return re.fullmatch(self.pattern, told) is not None


def actions(heading: str) -> dict[str, list[Listed]]:
    """The calls of each action: "2 `ReadOriginal`", "`GetItems handles=1..3` or more"."""
    found = {}
    for action, cell, *_ in table(heading):
        calls = re.findall(r"(\d*) ?`([^`]+)`( or more)?", cell)
        found[action] = [Listed(int(times or 1), bool(more), _pattern(call)) for times, call, more in calls]
    return found


def _pattern(call: str) -> str:
    def ranged(match: re.Match[str]) -> str:
        return "(" + "|".join(map(str, range(int(match[1]), int(match[2]) + 1))) + ")"

    return re.sub(r"(\d+)\.\.(\d+)", ranged, call)


def check(row: Row, value: Any) -> None:
    """Fails if a value is not of the kind, or has not the size, that the page says."""
    CHECKS[row.kind](value, row.sizes)


def _bytes_of(value: Any, sizes: tuple[int, ...]) -> None:
    assert len(value) in sizes


def _sealed(value: bytes, sizes: tuple[int, ...]) -> None:
    assert value.startswith(SEALED_MAGIC)
    assert len(value) in sizes


def _padded(value: int, _: tuple[int, ...]) -> None:
    assert value == 0 or padme(value - SEALED_OVERHEAD_BYTES) == value - SEALED_OVERHEAD_BYTES


def _hidden(value: bytes, _: tuple[int, ...]) -> None:
    if len(value) >= _LARGE_BYTES:
        assert len(zlib.compress(value, 1)) > _LEAST_COMPRESSED * len(value)


def _number(value: Any, _: tuple[int, ...]) -> None:
    assert isinstance(value, int)


def _ids(value: bytes, _: tuple[int, ...]) -> None:
    assert len(value) % 16 == 0


def _draws(value: bytes, _: tuple[int, ...]) -> None:
    assert len(value) % 8 == 0


def _word(value: Any, _: tuple[int, ...]) -> None:
    assert re.fullmatch(r"[0-9A-Za-z.+!_-]{0,64}", value)


def _seconds(value: Any, _: tuple[int, ...]) -> None:
    assert 0 <= value < 3600


def _size(value: int, sizes: tuple[int, ...]) -> None:
    assert value in (0, *sizes)


CHECKS: dict[str, Callable[[Any, tuple[int, ...]], None]] = {
    "id": lambda value, _: _bytes_of(value, (16,)),
    "ids": _ids,
    "mac": lambda value, _: _bytes_of(value, (32,)),
    "draws": _draws,
    "digest": lambda value, _: _bytes_of(value, (32,)),
    "sealed": _sealed,
    "hidden": _hidden,
    "padded": _padded,
    "size": _size,
    "key": lambda value, _: None,
    "number": _number,
    "memory": _number,
    "time": _number,
    "clock": lambda value, _: None,
    "seconds": _seconds,
    "clear": lambda value, _: None,
    "word": _word,
    "version": _word,
}
