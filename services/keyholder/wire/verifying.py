"""Conversion of the messages of 1:1 verification: two inputs, or one and an item, and the decision."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.packing.columns import Floats
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import announced
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.items import FileHeader
from blindsight.wire.verify import Verification, VerifyHeader, VerifyTimings
from services.keyholder.operations.verify import Compared, Input, VerifySettings
from services.keyholder.wire.inputs import matrix

MAX_VERIFY_INPUTS = 2


def verify_item(header: VerifyHeader) -> tuple[str, str] | None:
    """Returns collection and id of a verification against an item; None for a pair.

    Raises:
        InvalidArgument: if one of the two is missing, or a setting is given that the collection determines.
    """
    if not header.collection and not header.id:
        return None
    if not header.collection or not header.id:
        raise InvalidArgument(
            f"a collection or an id alone, want both ({'id' if header.id else 'collection'} came)"
        )
    given = ("scheme", "parameter_set", "metric", "embedder")
    for name in given:
        if getattr(header, name):
            raise InvalidArgument(f"{name.replace('_', ' ')} is that of the collection, want none beside it")
    return header.collection, header.id


def verify_settings(header: VerifyHeader) -> VerifySettings:
    """Returns the settings of the comparison of a pair."""
    return VerifySettings(
        header.scheme or "ckks",
        header.parameter_set,
        Metric(header.metric or "cosine"),
        header.embedder,
        header.threshold,
    )


async def verify_inputs(requests: AsyncIterator[pb.VerifyRequest]) -> list[Input]:
    """Receives the photos or vectors of a verification, at most two.

    Raises:
        InvalidArgument: if an input is incomplete, or there are more than two.
        InvalidVector: if an input's bytes are not one vector.
    """
    inputs: list[Input] = []
    async for request in requests:
        part = request.WhichOneof("part")
        if part not in ("image", "vectors"):
            raise InvalidArgument(
                f"verify stream: {part or 'an empty message'} came, want a photo or a vector"
            )
        if len(inputs) == MAX_VERIFY_INPUTS:
            raise InvalidArgument("verify stream: more than two inputs came, want two")
        if part == "image":
            inputs.append(await announced(requests, FileHeader.from_message(request.image).receiver()))
        else:
            inputs.append(_one_vector(request.vectors))
    return inputs


def _one_vector(block: pb.VectorBlock) -> Floats:
    rows = matrix(block)
    if len(rows) != 1:
        raise InvalidVector(f"{len(rows)} vectors in one input, want 1")
    row: Floats = rows[0]
    return row


def verification(made: Compared, *, decided: bool = False) -> Verification:
    """Converts the decision of a verification.

    Args:
        decided: whether it is for somebody who is told the decision alone.
    """
    return Verification(
        verified=made.verified,
        distance=math.nan if decided else made.distance,
        threshold=made.threshold.value,
        threshold_source=made.threshold.source,
        metric=made.metric.value,
        scheme=made.parameters.scheme.name.lower(),
        parameter_set=made.parameters.name,
        timings=VerifyTimings(
            embed_seconds=made.timings.embed,
            encrypt_seconds=made.timings.encrypt,
            compare_seconds=made.timings.score,
            decrypt_seconds=made.timings.decrypt,
            total_seconds=made.timings.total,
        ),
        vector=None if decided else made.vector,
    )
