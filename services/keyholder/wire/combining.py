"""Conversion of the messages of weighted sums."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace

from blindsight.additive import schemes
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import Receiver, announced, digest
from blindsight.trusted.imaging.images import Colours
from blindsight.wire.combine import ArrayHeader, CombineHeader, CombineResult, packed, unpacked
from blindsight.wire.items import FileHeader
from services.keyholder.operations.combine import MAX_INPUTS, MAX_VALUES, Combination, CombineSettings
from services.keyholder.operations.combine import Input as CombineInput

DEFAULT_COMBINE_SCHEME = "paillier"
MAX_AXES = 8


def combine_settings(header: CombineHeader) -> CombineSettings:
    """Returns the settings of a weighted sum.

    Raises:
        InvalidArgument: if the scheme is unknown, or cannot compute this.
    """
    return CombineSettings(
        schemes.by_name(header.scheme or DEFAULT_COMBINE_SCHEME),
        header.key_bits or None,
        header.weights,
        Colours(header.colours),
        header.insecure_small_keys,
    )


async def combine_inputs(requests: AsyncIterator[pb.CombineRequest]) -> list[CombineInput]:
    """Receives the pictures and arrays of a stream.

    Raises:
        InvalidArgument: if an input is incomplete, or there are too many.
        ResourceExhausted: if an input is too large.
    """
    inputs: list[CombineInput] = []
    async for request in requests:
        part = request.WhichOneof("part")
        if part not in ("image", "array"):
            raise InvalidArgument(f"combine stream: {part or 'an empty message'} came, want an input")
        if len(inputs) == MAX_INPUTS:
            raise InvalidArgument(f"combine stream: more than {MAX_INPUTS} inputs came")
        if part == "image":
            inputs.append(await announced(requests, FileHeader.from_message(request.image).receiver()))
        else:
            array = ArrayHeader.from_message(request.array)
            inputs.append(unpacked(await announced(requests, _array_receiver(array)), array.shape))
    return inputs


def _array_receiver(header: ArrayHeader) -> Receiver:
    if not 1 <= len(header.shape) <= MAX_AXES or not all(header.shape):
        raise InvalidArgument(f"array of {len(header.shape)} axes, want 1 to {MAX_AXES} and none of length 0")
    size = 8 * math.prod(header.shape)
    return Receiver(size, header.sha256, limit_bytes=8 * MAX_VALUES, what="an array")


def result(made: Combination, total_seconds: float) -> tuple[CombineResult, bytes]:
    """Converts a sum; returns the message that describes it, and its packed values."""
    info = schemes.SCHEMES[made.scheme]
    data = packed(made.values)
    said = CombineResult(
        shape=made.values.shape,
        scheme=info.name,
        key_bits=made.key_bits,
        description=info.description,
        warning=made.warning,
        weights=made.weights,
        ciphertexts=made.ciphertexts,
        sent_bytes=made.sent_bytes,
        received_bytes=made.received_bytes,
        timings=replace(made.timings, total_seconds=total_seconds),
        size_bytes=len(data),
        sha256=digest(data),
    )
    return said, data
