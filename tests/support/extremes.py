"""Messages with the largest, smallest and strangest values in one field after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_KINDS = FieldDescriptor
INTEGERS = {
    _KINDS.CPPTYPE_INT32: (-(1 << 31), -1, 0, (1 << 31) - 1),
    _KINDS.CPPTYPE_INT64: (-(1 << 63), -1, 0, (1 << 63) - 1),
    _KINDS.CPPTYPE_UINT32: (0, 1 << 31, (1 << 32) - 1),
    _KINDS.CPPTYPE_UINT64: (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
    _KINDS.CPPTYPE_ENUM: (0, -1, 99, (1 << 31) - 1),
}
REALS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -1.0)
TEXTS = ("", str((1 << 63) - 1), str(1 << 64), "-1", "1e308", "\x1b[2J", "\U0010ffff", "x" * 5000)


def extremes(field: FieldDescriptor) -> tuple[object, ...]:
    if field.cpp_type in (_KINDS.CPPTYPE_FLOAT, _KINDS.CPPTYPE_DOUBLE):
        return REALS
    if field.cpp_type == _KINDS.CPPTYPE_STRING:
        return TEXTS if field.type == _KINDS.TYPE_STRING else (b"", b"\xff" * 16, b"\0" * 5000)
    return INTEGERS.get(field.cpp_type, ())


def copied(message: Message) -> Message:
    made = type(message)()
    made.CopyFrom(message)
    return made


def changed(message: Message) -> Iterator[tuple[str, Message]]:
    """A message with one field after the other changed to each extreme; and what was changed."""
    for field in message.DESCRIPTOR.fields:
        one_of_many = field.containing_oneof is not None and len(field.containing_oneof.fields) > 1
        if field.message_type is not None:
            parts = getattr(message, field.name)
            if _is_map(field):
                places = list(parts)
            elif field.is_repeated:
                places = range(len(parts))
            else:
                places = [None] if message.HasField(field.name) else []
            for place in places:
                part = parts if place is None else parts[place]
                for what, made in changed(part):
                    whole = copied(message)
                    target = getattr(whole, field.name)
                    (target if place is None else target[place]).CopyFrom(made)
                    yield f"{field.name}.{what}", whole
        elif not one_of_many or message.HasField(field.name):
            for value in extremes(field):
                whole = copied(message)
                if field.is_repeated:
                    getattr(whole, field.name)[:] = [value]
                else:
                    setattr(whole, field.name, value)
                yield f"{field.name} = {str(value)[:30]!r}", whole


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def filled(kind: Descriptor, part: FieldDescriptor | None = None) -> Message:
    """A message with every field set, of its choices `part` or the first."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        choice = field.containing_oneof
        if choice is not None and len(choice.fields) > 1 and field is not (part or choice.fields[0]):
            continue
        if field.message_type is not None:
            if field.message_type is kind or "Filter" in field.message_type.name:
                continue  # it would have no end
            nested = filled(field.message_type)
            if _is_map(field):
                getattr(message, field.name)[nested.key].CopyFrom(nested.value)
            elif field.is_repeated:
                getattr(message, field.name).add().CopyFrom(nested)
            else:
                getattr(message, field.name).CopyFrom(nested)
        else:
            value = {
                _KINDS.CPPTYPE_STRING: b"0123456789abcdef" if field.type == _KINDS.TYPE_BYTES else "name"
            }
            one = value.get(field.cpp_type, 1)
            if field.is_repeated:
                getattr(message, field.name).append(one)
            else:
                setattr(message, field.name, one)
    return message
