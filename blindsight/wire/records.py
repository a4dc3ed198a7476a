"""Conversions between records and messages: a frozen dataclass has the fields of its message, by name.

A field is a number, text, bytes, an enumeration, a time, another record, one of several records (a oneof),
or a tuple of one of these; `X | None` stands for a field that may be unset, `Annotated[X, converter]` for one
that has another type in the message.  A record whose fields differ from its message's raises TypeError at its
first use, so neither can change without the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import IntEnum
from functools import cache, partial, reduce
from operator import attrgetter, or_
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Protocol,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from google.protobuf.message import Message

from blindsight.errors import InvalidArgument
from blindsight.wire.times import to_datetime

M = TypeVar("M", bound=Message)
P = TypeVar("P")

_Read = Callable[[Any], Any]
# Takes a message and a value, and puts the value into the message.
_Write = Callable[[Any, Any], None]


class Converter(Protocol):
    """A conversion of a field between message and record."""

    def from_message(self, value: Any, /) -> Any:
        """Converts the message's value to the record's."""

    def to_message(self, value: Any, /) -> Any:
        """Converts the record's value to the message's."""


class Record(Generic[M]):
    """A message as an immutable value; a subclass is a frozen dataclass with the fields of message `M`.

    A record whose shape differs from its message's overrides both conversions.

    Attributes:
        elsewhere: fields of the message that are not fields of the record.
    """

    __slots__ = ()
    elsewhere: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_message(cls, message: M) -> Self:
        """Makes the record from a message.

        Raises:
            InvalidArgument: if a field has an invalid value; the message says what was expected.
        """
        return read(cls, message)

    def to_message(self) -> M:
        """Converts the record to its message."""
        message: M = message_type(type(self))()
        write(message, self)
        return message


class Parts(Generic[M, P]):
    """Conversions of a message with one oneof, whose parts are records, or bytes.

    Args:
        message: type of the message.
        parts: union of the types of its parts, each of which occurs once.
    """

    def __init__(self, message: type[M], parts: object) -> None:
        self._message = message
        (oneof,) = message.DESCRIPTOR.oneofs
        self._oneof = oneof.name
        self._reads: dict[str, _Read] = {}
        self._writes: dict[type, tuple[str, _Write | None]] = {}
        for part in get_args(parts):
            (field,) = (one for one in oneof.fields if _holds(one, part))
            self._reads[field.name] = bytes if part is bytes else part.from_message
            self._writes[part] = field.name, None if part is bytes else write

    def from_message(self, message: M) -> P:
        """Returns the part that a message holds.

        Raises:
            InvalidArgument: if it holds none, one that is not among `parts`, or an invalid one.
        """
        name = message.WhichOneof(self._oneof)
        if name not in self._reads:
            got = f"with {name}" if name else "without a part"
            raise InvalidArgument(f"{message.DESCRIPTOR.name} {got}, want {' or '.join(self._reads)}")
        part: P = self._reads[name](getattr(message, name))
        return part

    def to_message(self, part: P) -> M:
        """Returns a message that holds a part."""
        message = self._message()
        self.write(message, part)
        return message

    def write(self, message: M, part: P) -> None:
        """Puts a part into a message in place: copying a message of a megabyte takes two milliseconds."""
        name, write_part = self._writes[type(part)]
        if write_part is None:
            setattr(message, name, part)
        else:
            write_part(getattr(message, name), part)


def read(record: type[P], message: Message) -> P:
    """Makes a dataclass from a message whose fields have the same names; see `Record.from_message`."""
    conversions = _conversions(record, message.DESCRIPTOR)
    return record(*[read_field(message) for _, read_field, _ in conversions])


def write(message: Message, record: object) -> None:
    """Fills a message from a dataclass whose fields have the same names; see `Record.to_message`."""
    message.SetInParent()  # so that a part whose fields are all zero counts as set
    for name, _, write_field in _conversions(type(record), message.DESCRIPTOR):
        try:
            if write_field is None:
                setattr(message, name, getattr(record, name))
            else:
                write_field(message, getattr(record, name))
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{name.replace('_', ' ')} is no UTF-8 text") from error
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"{name.replace('_', ' ')}: {error}") from error


def _message_type(record: Any) -> Any:
    (base,) = (one for one in record.__orig_bases__ if get_origin(one) is Record)
    return get_args(base)[0]


def _compiled(record: Any, message: Any) -> list[tuple[str, _Read, _Write | None]]:
    hints = get_type_hints(record, include_extras=True)
    names = _names(record)
    described = message.fields_by_name
    different = {*names, *getattr(record, "elsewhere", ())} ^ set(described)
    if different:
        raise TypeError(f"{record.__name__} and {message.full_name} differ in {sorted(different)}")
    return [(name, *_field(name, hints[name], described[name])) for name in names]


def _field(name: str, hint: Any, field: Any) -> tuple[_Read, _Write | None]:
    get = attrgetter(name)
    if get_origin(hint) is Annotated:
        return _converted(name, get_args(hint)[1])
    if get_origin(hint) is tuple:
        return _repeated(get, *_value(name, get_args(hint)[0], field))
    options = [one for one in _options(hint) if one is not NoneType]
    read_value, write_value = _value(name, reduce(or_, options), field)
    if len(options) < len(_options(hint)):
        return _optional(name, read_value, write_value)
    read_field = get if read_value is None else lambda message: read_value(get(message))
    if write_value is None:
        return read_field, None
    return read_field, lambda message, value: write_value(get(message), value)


def _converted(name: str, converter: Converter) -> tuple[_Read, _Write]:
    def write_converted(message: Any, value: Any) -> None:
        if value is not None:
            setattr(message, name, converter.to_message(value))

    return lambda message: converter.from_message(getattr(message, name)), write_converted


def _repeated(get: _Read, read_value: _Read | None, write_value: _Write | None) -> tuple[_Read, _Write]:
    def read_all(message: Any) -> tuple[Any, ...]:
        return tuple(get(message)) if read_value is None else tuple(map(read_value, get(message)))

    def write_all(message: Any, values: tuple[Any, ...]) -> None:
        if write_value is None:
            get(message).extend(values)
            return
        for value in values:
            write_value(get(message).add(), value)

    return read_all, write_all


def _optional(name: str, read_value: _Read | None, write_value: _Write | None) -> tuple[_Read, _Write]:
    def read_set(message: Any) -> Any:
        if not message.HasField(name):
            return None
        value = getattr(message, name)
        return value if read_value is None else read_value(value)

    def write_set(message: Any, value: Any) -> None:
        if value is None:
            return
        if write_value is None:
            setattr(message, name, value)
        else:
            write_value(getattr(message, name), value)

    return read_set, write_set


def _value(name: str, hint: Any, field: Any) -> tuple[_Read | None, _Write | None]:
    """Returns how one value is read and written; None: unchanged."""
    if len(_options(hint)) > 1:
        parts: Parts[Any, Any] = Parts(field.message_type._concrete_class, hint)
        return parts.from_message, parts.write
    if hint is datetime:
        return to_datetime, lambda stamp, value: stamp.FromDatetime(value)
    if _names(hint):
        return partial(_read_nested, hint), _write_overridden if _overrides(hint) else write
    return (partial(_member, name, hint), None) if issubclass(hint, IntEnum) else (None, None)


def _names(record: Any) -> list[str]:
    """Returns the names of a record's fields, of a dataclass or a named tuple; none if it is neither."""
    if is_dataclass(record):
        return [field.name for field in fields(record)]
    return list(getattr(record, "_fields", ()))


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _read_nested(record: Any, message: Message) -> Any:
    return record.from_message(message) if issubclass(record, Record) else read(record, message)


def _overrides(record: Any) -> bool:
    return issubclass(record, Record) and record.to_message is not Record.to_message


def _write_overridden(message: Message, value: Record[Any]) -> None:
    message.CopyFrom(value.to_message())


def _member(name: str, enumeration: type[IntEnum], number: int) -> IntEnum:
    try:
        return enumeration(number)
    except ValueError:
        raise InvalidArgument(f"{name} {number}, want {', '.join(enumeration.__members__)}") from None


def _holds(field: Any, part: type) -> bool:
    if part is bytes or field.message_type is None:
        return part is bytes and field.message_type is None
    return message_type(part).DESCRIPTOR is field.message_type


message_type: Callable[[Any], Any] = cache(_message_type)
"""The message `M` of a `Record`."""
# For each field: its name, how it is read from a message, and how it is written (None: unchanged).
_conversions: Callable[[Any, Any], list[tuple[str, _Read, _Write | None]]] = cache(_compiled)
