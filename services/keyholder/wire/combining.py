"""Weighted sums of pictures and arrays."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator

import numpy as np

from blindsight.additive import schemes
from blindsight.additive.layout import Integers
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import Receiver, announced, chunks, digest
from blindsight.trusted.crypto.tasks import ImageMode
from services.keyholder.operations.combine import MAX_INPUTS, MAX_VALUES, Combination, CombineProgress, Stage
from services.keyholder.operations.combine import Input as CombineInput
from services.keyholder.operations.combine import Settings as CombineSettings
from services.keyholder.wire.inputs import receiver_of

DEFAULT_COMBINE_SCHEME = "paillier"
MAX_AXES = 8
_STAGES = {
    Stage.KEYGEN: pb.COMBINE_STAGE_KEYGEN,
    Stage.ENCRYPT: pb.COMBINE_STAGE_ENCRYPT,
    Stage.COMPUTE: pb.COMBINE_STAGE_COMPUTE,
    Stage.DECRYPT: pb.COMBINE_STAGE_DECRYPT,
}


def combine_settings(header: pb.CombineHeader) -> CombineSettings:
    """How arrays are to be combined.

    Raises:
        InvalidArgument: for a scheme or a mode that there is not, or what the scheme cannot do.
    """
    try:
        mode = ImageMode(header.image_mode)
    except ValueError:
        raise InvalidArgument(
            f"image mode {header.image_mode}, want one of {[one.value for one in ImageMode]}"
        ) from None
    return CombineSettings(
        schemes.by_name(header.scheme or DEFAULT_COMBINE_SCHEME),
        header.key_bits or None,
        tuple(header.weights),
        mode,
        header.insecure_small_keys,
    )


async def combine_inputs(requests: AsyncIterator[pb.CombineRequest]) -> list[CombineInput]:
    """Pictures and arrays of a stream.

    Raises:
        InvalidArgument: when something does not come whole, or too much comes.
        ResourceExhausted: when one is too large.
    """
    inputs: list[CombineInput] = []
    async for request in requests:
        part = request.WhichOneof("part")
        if part not in ("image", "array"):
            raise InvalidArgument(f"combine stream: {part or 'an empty message'} came, want an input")
        if len(inputs) == MAX_INPUTS:
            raise InvalidArgument(f"combine stream: more than {MAX_INPUTS} inputs came")
        receiver = receiver_of(request.image) if part == "image" else _array_receiver(request.array)
        data = await announced(requests, receiver)
        inputs.append(data if part == "image" else _array(request.array, data))
    return inputs


def _array_receiver(header: pb.ArrayHeader) -> Receiver:
    if not 1 <= len(header.shape) <= MAX_AXES or not all(header.shape):
        raise InvalidArgument(f"array of {len(header.shape)} axes, want 1 to {MAX_AXES} and none of length 0")
    size = 8 * math.prod(header.shape)
    return Receiver(size, header.sha256, limit_bytes=8 * MAX_VALUES, what="an array")


def _array(header: pb.ArrayHeader, data: bytes) -> Integers:
    return np.frombuffer(data, "<i8").astype(np.int64).reshape(tuple(header.shape))


def combine_progress(progress: CombineProgress) -> pb.CombineResponse:
    """How far it is."""
    return pb.CombineResponse(
        progress=pb.CombineProgress(stage=_STAGES[progress.stage], done=progress.done, total=progress.total)
    )


def combination(made: Combination) -> Iterator[pb.CombineResponse]:
    """The result: a header and chunks."""
    info = schemes.SCHEMES[made.scheme]
    data = made.values.astype("<i8").tobytes()
    result = pb.CombineResult(
        shape=made.values.shape,
        scheme=info.name,
        key_bits=made.key_bits,
        description=info.description,
        warning=made.warning,
        weights=made.weights,
        ciphertexts=made.ciphertexts,
        sent_bytes=made.sent_bytes,
        received_bytes=made.received_bytes,
        timings=pb.CombineTimings(
            keygen_seconds=made.timings.keygen,
            encrypt_seconds=made.timings.encrypt,
            compute_seconds=made.timings.compute,
            decrypt_seconds=made.timings.decrypt,
            total_seconds=made.timings.total,
        ),
        size_bytes=len(data),
        sha256=digest(data),
    )
    yield pb.CombineResponse(result=result)
    for chunk in chunks(data):
        yield pb.CombineResponse(chunk=chunk)
