"""Weighted sums under encryption: the request stream and the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from blindsight.client import calls, inputs
from blindsight.client.calls import Connection
from blindsight.client.sources import Source
from blindsight.errors import DataLoss, InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.combine import (
    ArrayHeader,
    CombineHeader,
    CombineProgress,
    CombineResult,
    CombineTimings,
    unpacked,
)
from blindsight.wire.items import FileHeader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CombineInput: TypeAlias = "inputs.ImageInput | npt.ArrayLike"
CombineCallback = Callable[[CombineProgress], None]


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """A weighted sum that was computed under encryption.

    Attributes:
        values: int64, in the inputs' shape, exact.
        description: human-readable description of the scheme.
        warning: text to display with the result wherever it is shown, if not empty: scramble is not
            encryption, or the key was too small to be secure.
        weights: one for each input.
        ciphertexts: number of ciphertexts of one input.
        sent_bytes, received_bytes: bytes of ciphertext, to and from the evaluator.
    """

    values: npt.NDArray[np.int64]
    scheme: str
    key_bits: int
    description: str
    warning: str
    weights: tuple[int, ...]
    ciphertexts: int
    sent_bytes: int
    received_bytes: int
    timings: CombineTimings


def combine(
    connection: Connection,
    header: CombineHeader,
    combined: Sequence[CombineInput],
    progress: CombineCallback | None,
) -> Combination:
    """Requests one weighted sum; all inputs are read and checked before anything is sent.

    Raises:
        InvalidArgument, InvalidImage: if an input is invalid.
        DataLoss: if the answer is not complete, or does not match its digest.
        BlindsightError: the error that the keyholder raised.
    """
    taken = [
        inputs.single(one) if _is_picture(one) else _integers(one, number)  # type: ignore[arg-type]
        for number, one in enumerate(combined, 1)
    ]
    parts = [part for one in taken for part in _parts(one)]
    requests = [pb.CombineRequest(header=header.to_message()), *parts]
    with inputs.named(*(one for one in taken if isinstance(one, Source))):
        return connection.repeat(lambda: _combine(connection, requests, progress))


def _combine(
    connection: Connection, requests: Sequence[pb.CombineRequest], progress: CombineCallback | None
) -> Combination:
    combine = connection.keyholder.Combine
    messages = calls.exchange(combine, iter(requests), expects=pb.CombineResponse)
    while (message := next(messages, None)) is not None and message.WhichOneof("part") == "progress":
        if progress is not None:
            progress(CombineProgress.from_message(message.progress))
    result = CombineResult.from_message(transfer.part_of(message, "result"))
    with transfer.answer_of(calls.PEER):
        receiver = transfer.Receiver(
            result.size_bytes, result.sha256, limit_bytes=result.size_bytes, what="the values"
        )
        data = transfer.announced_sync(messages, receiver)
    transfer.require_end(next(messages, None))
    return _read(result, data)


def _parts(one: Source | npt.NDArray[Any]) -> Iterator[pb.CombineRequest]:
    if isinstance(one, Source):
        data = inputs.load(one)
        yield pb.CombineRequest(image=FileHeader.of(data).to_message())  # without the file's name: not needed
    else:
        header, data = ArrayHeader.of(one)
        yield pb.CombineRequest(array=header.to_message())
    for chunk in transfer.chunks(data):
        yield pb.CombineRequest(chunk=chunk)


def _is_picture(one: Any) -> bool:
    """Returns whether an input is a picture: paths, bytes and Pillow images are, arrays are not."""
    if isinstance(one, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    return hasattr(type(one), "__array_interface__") and not hasattr(one, "dtype")


def _integers(one: Any, number: int) -> npt.NDArray[Any]:
    import numpy as np

    try:
        values = np.asarray(one)
    except ValueError:
        raise InvalidArgument(f"input {number} has rows of several lengths, want an array") from None
    if values.dtype.kind not in "iub" or not values.ndim or not values.size:
        raise InvalidArgument(
            f"input {number} is {values.dtype.name} {list(values.shape)}, want integers of 1 axis or more"
        )
    if values.dtype.kind == "u" and int(values.max()) >= 1 << 63:
        raise InvalidArgument(f"input {number} holds values of 2^63 or more, want less")
    return values


def _read(result: CombineResult, data: bytes) -> Combination:
    try:
        values = unpacked(data, result.shape)
    except ValueError:
        raise DataLoss("the keyholder answered with values that do not fit their shape") from None
    names = [field.name for field in fields(Combination) if field.name != "values"]
    return Combination(values, **{name: getattr(result, name) for name in names})
