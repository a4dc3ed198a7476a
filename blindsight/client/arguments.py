"""Checks of the arguments of the SDK's methods: a wrong type is one clear error, before anything is sent.

A parameter of one name means the same in every method, so its check stands here once.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial, wraps
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

from blindsight.errors import InvalidArgument
from blindsight.wire.collections import VaultStatus

Checked = TypeVar("Checked")
# Takes the name of a parameter and its value; returns the value as it is used.
_Check = Callable[[str, Any], Any]


def text(what: str, value: Any) -> str:
    """Returns a name or an id.

    Raises:
        InvalidArgument: if it is no text, or none that UTF-8 can write.
    """
    if not isinstance(value, str):
        raise _of_type(what, value, "text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} is no UTF-8 text from character {error.start} on") from None
    return value


def identifier(what: str, value: Any) -> str:
    """Returns an id of an item; a whole number, also one of numpy, is the text of its digits.

    Raises:
        InvalidArgument: if it is neither, or no text that UTF-8 can write.
    """
    if isinstance(value, str):
        return text(what, value)
    if isinstance(value, bool):
        raise _of_type(what, value, "a text or a whole number")
    if isinstance(value, Integral):
        return str(int(value))
    raise _of_type(what, value, "a text or a whole number")


def natural(what: str, value: Any) -> int:
    """Returns a number from 1 up.

    Raises:
        InvalidArgument: if it is none, or beyond 32 bits.
    """
    if not 0 < (number := _whole(what, value)) < 1 << 32:
        raise InvalidArgument(f"{what} is {number}, want 1 to {(1 << 32) - 1}")
    return number


def number(what: str, value: Any) -> float:
    """Returns a finite number.

    Raises:
        InvalidArgument: if it is none, or not finite.
    """
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, SupportsFloat | SupportsIndex):
        raise _of_type(what, value, "a number")
    try:
        made = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{what} of type {type(value).__name__} is no finite number") from None
    if not math.isfinite(made):
        raise InvalidArgument(f"{what} {made}, want a finite number")
    return made


def several(what: str, value: Any, wanted: str) -> list[Any]:
    """Returns the members of a list, a tuple or an array.

    Raises:
        InvalidArgument: if it is none, such as a single text.
    """
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Iterable):
        raise _of_type(what, value, wanted)
    try:
        return list(value)
    except TypeError:  # an array of one number
        raise _of_type(what, value, wanted) from None


def _whole(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise _of_type(what, value, "a whole number")
    try:
        return operator.index(value)
    except TypeError:  # an array that has the method
        raise _of_type(what, value, "a whole number") from None


def _count(what: str, value: Any, bits: int = 32) -> int:
    if not 0 <= (found := _whole(what, value)) < 1 << bits:
        raise InvalidArgument(f"{what} is {found}, want 0 to {(1 << bits) - 1}")
    return found


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ != "bool":  # numpy's is another
        raise _of_type(what, value, "True or False")
    return bool(value)


def _callback(what: str, value: Any) -> Any:
    if not callable(value):
        raise _of_type(what, value, "a function")
    return value


def _finite(what: str, value: Any) -> Any:
    number(what, value)
    return value  # some are whole numbers


def duration(what: str, value: Any) -> float:
    """Returns seconds, 0 or more.

    Raises:
        InvalidArgument: if they are none.
    """
    if (seconds := number(what, value)) < 0:
        raise InvalidArgument(f"{what} is {value}, want 0 or more")
    return seconds


def _keys(what: str, value: Any) -> list[str]:
    return [text("key", key) for key in several(what, value, "a list of keys")]


def _status(what: str, value: Any) -> VaultStatus:
    if not isinstance(value, VaultStatus):
        raise _of_type(what, value, "that which `status` returned")
    return value


def _mapping(what: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _of_type(what, value, "keys and values")
    return value


def _rows_of_metadata(what: str, value: Any) -> Any:
    return (
        value if isinstance(value, Mapping) else several(what, value, "keys and values, or a list of those")
    )


def _path(what: str, value: Any) -> Path:
    path = str(value) if isinstance(value, Path) else text(what, value)
    if not path or not Path(value).parts:  # pathlib takes an empty one for this folder
        raise InvalidArgument(f"{what} is empty, want a path")
    if "\0" in path:
        raise InvalidArgument(f"{what} has a NUL in it, want a path")
    return Path(path)


def _moment(what: str, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise _of_type(what, value, "a datetime")
    if value.tzinfo is None:
        raise InvalidArgument(f"{what} has no time zone, want one, as of datetime.now(UTC)")
    return value


def _optional(check: _Check) -> _Check:
    return lambda what, value: None if value is None else check(what, value)


_FLAGS = (
    *("planes", "upsert", "any", "query_visible_to_server", "draw", "descending", "repair", "encrypted"),
    *("insecure_small_keys", "server_views", "exif", "sidecar"),
)
CHECKS: MappingProxyType[str, _Check] = MappingProxyType(
    {
        **dict.fromkeys(_FLAGS, _flag),
        "id": identifier,
        "import_id": text,
        "vector_name": text,
        **dict.fromkeys(("name", "new"), lambda _, value: text("collection name", value)),
        "alias": text,
        "request_id": _optional(text),
        **dict.fromkeys(("address", "profile"), _optional(text)),
        **dict.fromkeys(("tls", "token_file"), _optional(_path)),
        **dict.fromkeys(("role", "token_id", "label", "tenant"), text),
        **dict.fromkeys(("items", "size_bytes"), _optional(partial(_count, bits=63))),
        **dict.fromkeys(("heavy_jobs", "max_collections"), _optional(natural)),
        "collections": _optional(lambda what, value: several(what, value, "a list of names")),
        **dict.fromkeys(("expires", "since"), _optional(_moment)),
        "reveal": _optional(text),
        "remove": _keys,
        "status": _status,
        "set": _optional(_mapping),
        "metadata": _optional(_rows_of_metadata),
        "weights": _optional(lambda what, value: several(what, value, "a list of whole numbers")),
        "inputs": lambda what, value: several(what, value, "a list of pictures or arrays"),
        "ratio": number,
        **dict.fromkeys(("scheme", "parameter_set", "embedder", "channels", "border"), _optional(text)),
        **dict.fromkeys(
            ("expected", "metric", "mode", "image_mode", "colours", "order", "page_token"), _optional(text)
        ),
        **dict.fromkeys(("k", "page_size", "scales", "side"), natural),
        **dict.fromkeys(
            ("burst", "queries_per_day", "octaves", "key_bits", "dimension", "expected_size", "size"),
            _optional(natural),
        ),
        **dict.fromkeys(("offset", "plane_halo", "index"), _count),
        **dict.fromkeys(("threshold", "max_norm", "requests_per_second"), _optional(_finite)),
        **dict.fromkeys(("progress", "away"), _optional(_callback)),
        **dict.fromkeys(("timeout_seconds", "keepalive_seconds", "retry_seconds"), duration),
        "wait_seconds": _optional(duration),
    }
)
"""The checks of parameters by name; those that are not here are checked where they are used."""


def checked(function: Checked) -> Checked:
    """Returns a function, or a class with its public methods, whose arguments are checked by `CHECKS`."""
    if isinstance(function, type):
        for name, method in list(vars(function).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                setattr(function, name, checked(method))
        return function
    signature = inspect.signature(function)  # type: ignore[arg-type]
    if not any(True for _ in _checks(signature.parameters)):
        return function

    @wraps(function)  # type: ignore[arg-type]
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        for name, check in _checks(list(bound.arguments)):
            bound.arguments[name] = check(name.replace("_", " "), bound.arguments[name])
        return function(*bound.args, **bound.kwargs)  # type: ignore[operator]

    return call  # type: ignore[return-value]


def _checks(names: Any) -> Iterator[tuple[str, _Check]]:
    return ((name, CHECKS[name]) for name in names if name in CHECKS)


def _of_type(what: str, value: Any, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{what} is of type {type(value).__name__}, want {wanted}")
