"""What a worker answers, in a form that is parsed and never executed.

A worker works on what others sent, in native code, and may have become theirs.  Its answer is MessagePack of
exactly the type that its task returns: whatever else it is, is refused.  Arrays are their type, shape and
bytes; the type must be the one that the task names.  An error is a name from a closed list and a few lines of
text.
"""

from __future__ import annotations

import math
import traceback
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, TypeVar, get_args

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.msgpack import Decoder, Encoder, Ext

from blindsight import errors
from blindsight.errors import BlindsightError
from blindsight.runtime.processpool.task import Task

Result = TypeVar("Result")

# The code of MessagePack's extension for the bytes of an array, which are read where they lie.
_ARRAY = 1
_REASONS = {
    one.reason: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, BlindsightError)
}
_Line = Annotated[str, Meta(max_length=2000)]


class WrongAnswer(Exception):
    """An answer is not one that the task can have."""


class WorkerError(RuntimeError):
    """An error in a worker process that is not one of Blindsight's own; its notes say where."""


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    """What a task raised.

    Attributes:
        reason: of one of Blindsight's errors; "" for any other.
        message: of one of Blindsight's errors; the type's name of any other.
        where: the stack.
    """

    reason: _Line
    message: _Line
    metadata: Annotated[dict[_Line, _Line], Meta(max_length=16)]
    where: Annotated[str, Meta(max_length=50_000)]


def of_result(result: object, seconds: float) -> bytes:
    """Encodes the result of a task and the seconds that it took.

    Raises:
        TypeError: if a part of the result is of no type that can be sent.
    """
    return _ENCODER.encode((seconds, result))


def of_error(error: BaseException) -> bytes:
    """Encodes what a task raised."""
    where = "".join(traceback.format_exception(error))[-20_000:]
    if isinstance(error, BlindsightError) and error.reason in _REASONS:
        failure = _Failure(error.reason, error.message[:2000], error.metadata, where)
    else:
        failure = _Failure("", type(error).__name__, {}, where)
    return _ENCODER.encode(failure)


def read(task: Task[Result], answer: bytearray) -> tuple[Result, float]:
    """Returns the result of a task and the seconds that it took; arrays are parts of the answer.

    Raises:
        WrongAnswer: if the task cannot have this answer.
        BlindsightError, WorkerError: what the task raised.
    """
    kind: Any = type(task)
    try:
        parsed = _decoder(kind).decode(answer)
        failed = _raised(parsed) if isinstance(parsed, _Failure) else None
        if failed is None:
            seconds, result = parsed
            if not 0 <= seconds < math.inf:
                raise ValueError("no number of seconds")
            task.check(result)
    except Exception as error:  # noqa: BLE001 - what is made to be wrong may be so in many ways
        raise WrongAnswer(_printable(str(error))[:300]) from None
    if failed is not None:
        raise failed
    return result, seconds


def _raised(failure: _Failure) -> Exception:
    texts = (failure.message, *failure.metadata, *failure.metadata.values())
    if not all(text.isprintable() for text in texts):
        raise ValueError("an error with a control character, want text of one line")
    if failure.reason in _REASONS:
        made: Exception = _REASONS[failure.reason](failure.message, **failure.metadata)
    elif not failure.reason:
        made = WorkerError(f"a {failure.message} in a worker process")
    else:
        raise ValueError("an error of an unknown kind")
    made.add_note("in a worker process:\n" + "\n".join(map(_printable, failure.where.splitlines())))
    return made


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


@cache
def _decoder(task: Any) -> Decoder[Any]:
    """Returns the parser of the answers to a type of task."""
    (result,) = get_args(task.__orig_bases__[0])
    wanted: Any = GenericAlias(tuple, (float, result)) | _Failure
    return Decoder(wanted, dec_hook=_array, ext_hook=_bytes_of_array)


def _plain(value: object) -> object:
    """Returns a number or an array of numpy in MessagePack's types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.dtype.str, value.shape, Ext(_ARRAY, _bytes_of(value))
    raise TypeError(f"a {type(value).__name__} cannot be sent from a worker")


def _bytes_of(values: np.ndarray[Any, Any]) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _bytes_of_array(code: int, data: memoryview) -> memoryview:
    if code != _ARRAY:
        raise ValueError("an unknown extension")
    return data


def _array(wanted: Any, parts: object) -> np.ndarray[Any, Any]:
    """Returns an array of the type that is wanted, `NDArray[...]`."""
    kind = np.dtype(get_args(get_args(wanted)[1])[0])
    match parts:
        case [kind.str, [*shape], memoryview() as data] if all(
            type(one) is int and one >= 0 for one in shape
        ):
            return np.frombuffer(data, kind).reshape(shape)
    raise ValueError(f"no array of {kind.name}")


_ENCODER = Encoder(enc_hook=_plain)
