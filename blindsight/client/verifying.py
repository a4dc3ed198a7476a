"""1:1 verifications: the request stream and the call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from blindsight.client import inputs
from blindsight.client.calls import Connection
from blindsight.client.sources import Source
from blindsight.errors import InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.items import FileHeader, VectorBlock
from blindsight.wire.verify import Verification, VerifyHeader

if TYPE_CHECKING:
    import numpy.typing as npt

VerifyInput: TypeAlias = "inputs.ImageInput | npt.ArrayLike"


def verify(connection: Connection, header: VerifyHeader, *compared: VerifyInput) -> Verification:
    """Requests one verification; all inputs are read and checked before anything is sent.

    Raises:
        InvalidArgument, InvalidImage, InvalidVector: if an input is invalid.
        BlindsightError: the error that the keyholder raised.
    """
    taken = [inputs.single(one) if _is_photo(one) else _vector(one) for one in compared]  # type: ignore[arg-type]
    parts = [part for one in taken for part in _parts(one)]
    requests = [pb.VerifyRequest(header=header.to_message()), *parts]
    with inputs.named(*(one for one in taken if isinstance(one, Source))):
        answer = connection.repeat(lambda: connection.keyholder.Verify(iter(requests)))
    return Verification.from_message(answer)


def _parts(one: Source | VectorBlock) -> Iterator[pb.VerifyRequest]:
    if isinstance(one, Source):
        data = inputs.load(one)
        yield pb.VerifyRequest(image=FileHeader.of(data).to_message())  # without the file's name: not needed
        for chunk in transfer.chunks(data):
            yield pb.VerifyRequest(chunk=chunk)
    else:
        yield pb.VerifyRequest(vectors=one.to_message())


def _is_photo(one: Any) -> bool:
    """Returns whether an input is a photo: a path, bytes, a Pillow image, or a uint8 array of 2+ axes."""
    if isinstance(one, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    if not hasattr(type(one), "__array_interface__"):
        return False
    dtype = getattr(one, "dtype", None)
    return dtype is None or (dtype == "uint8" and one.ndim >= 2)


def _vector(values: Any) -> VectorBlock:
    from blindsight.client import vectors  # imported late: numpy is slow to import, photos do not need it

    matrix = vectors.as_matrix(values)
    if len(matrix) != 1:
        raise InvalidVector(f"{len(matrix)} vectors in one input, want 1")
    vectors.check(matrix)
    (block,) = vectors.blocks(matrix)
    return block
