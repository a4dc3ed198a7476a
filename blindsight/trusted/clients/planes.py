"""Encrypted planes on their way to the evaluator and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from blindsight.errors import BlindsightError
from blindsight.packing.kernels import PlaneKernel
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.runtime import transfer as streams
from blindsight.trusted.clients.parts import (
    Blocks,
    PlaneResult,
    PlaneSource,
    PlaneSummary,
    SentPlanes,
    StackedPlanes,
)


class Feed:
    """Tiles on their way out.

    Attributes:
        error: what making a block raised; gRPC then cancels the call and says nothing of it.
    """

    def __init__(self) -> None:
        self.error: BlindsightError | None = None

    async def tiles(self, blocks: Blocks | None) -> AsyncIterator[evaluator_pb2.PlaneTiles]:
        """Blocks as they are made; none of planes that are not sent."""
        if blocks is None:
            return
        try:
            async for block in blocks():
                digest = await asyncio.to_thread(streams.digest, block)
                yield evaluator_pb2.PlaneTiles(block=block, sha256=digest)
        except BlindsightError as error:
            self.error = error
            raise


def source(planes: PlaneSource) -> evaluator_pb2.PlaneSource:
    """Where planes come from."""
    if isinstance(planes, SentPlanes):
        sent = evaluator_pb2.SentPlanes(
            parameter_set=planes.parameters.name,
            key_id=planes.key_id,
            ciphertexts=planes.ciphertexts,
            halo=planes.halo,
        )
        return evaluator_pb2.PlaneSource(sent=sent)
    if isinstance(planes, StackedPlanes):
        stacked = evaluator_pb2.StackedPlanes(
            public_key=planes.public_key.to_bytes(),
            header=planes.header.pack(),
            height=planes.stack.height,
            width=planes.stack.width,
            halo=planes.stack.halo,
        )
        return evaluator_pb2.PlaneSource(stacked=stacked)
    stored = evaluator_pb2.StoredPlanes(collection_id=planes.collection_id, handle=planes.handle)
    return evaluator_pb2.PlaneSource(stored=stored)


def kernel(made: PlaneKernel) -> evaluator_pb2.PlaneKernel:
    """Weights, and where they are anchored."""
    return evaluator_pb2.PlaneKernel(
        height=made.height,
        width=made.width,
        anchor_row=made.anchor_row,
        anchor_column=made.anchor_column,
        weights=made.weights,
        offset=made.offset,
    )


def part_of(
    response: evaluator_pb2.TransformResponse
    | evaluator_pb2.DifferenceResponse
    | evaluator_pb2.ScaleSpaceResponse,
) -> PlaneResult | PlaneSummary:
    """What follows the plan of an answer."""
    if response.WhichOneof("part") == "result":
        return PlaneResult(response.result.kernel, response.result.first, response.result.block)
    return PlaneSummary(response.summary.compute_seconds)
