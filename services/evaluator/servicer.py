"""The rpcs of `blindsight.evaluator.v1.EvaluatorService`: each parses, delegates and converts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from blindsight.rpc.evaluator.v1 import evaluator_pb2, evaluator_pb2_grpc
from blindsight.wire.blocks import COMBINE, COMPARE_ALL, CombineHeader, CompareAllHeader
from blindsight.wire.planes import (
    DIFFERENCE,
    SCALE_SPACE,
    TRANSFORM,
    DifferenceHeader,
    ScaleSpaceHeader,
    TransformHeader,
)
from blindsight.wire.scores import SCORE, ScoreHeader
from services.evaluator import requests
from services.evaluator.service import Evaluator

Context = grpc.aio.ServicerContext[Any, Any]
NAME: str = evaluator_pb2.DESCRIPTOR.services_by_name["EvaluatorService"].full_name


class EvaluatorServicer(evaluator_pb2_grpc.EvaluatorServiceServicer):
    """The evaluator's service, for any client that can reach it; `evaluator.proto` says what it learns."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    async def Score(
        self, request_iterator: AsyncIterator[evaluator_pb2.ScoreRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.ScoreResponse]:
        """Streams a plan, encrypted scores per segment, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, ScoreHeader)
        async for answer in self._evaluator.searches.run(header, requests.chunks(stream)):
            yield SCORE.to_message(answer)

    async def CompareAll(
        self, request_iterator: AsyncIterator[evaluator_pb2.CompareAllRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.CompareAllResponse]:
        """Streams the products of all encrypted rows with all encrypted queries, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, CompareAllHeader)
        async for answer in self._evaluator.comparisons.run(header, requests.chunks(stream)):
            yield COMPARE_ALL.to_message(answer)

    async def Combine(
        self, request_iterator: AsyncIterator[evaluator_pb2.CombineRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.CombineResponse]:
        """Streams the size of a weighted sum of encrypted arrays, the sum, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, CombineHeader)
        async for answer in self._evaluator.combinations.run(header, requests.chunks(stream)):
            yield COMBINE.to_message(answer)

    async def Transform(
        self, request_iterator: AsyncIterator[evaluator_pb2.TransformRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.TransformResponse]:
        """Streams a plan, encrypted tiles multiplied by every kernel, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, TransformHeader)
        async for answer in self._evaluator.planes.transform(header, requests.tiles(stream, "tiles")):
            yield TRANSFORM.to_message(answer)

    async def Difference(
        self, request_iterator: AsyncIterator[evaluator_pb2.DifferenceRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.DifferenceResponse]:
        """Streams a plan, differences of encrypted tiles, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, DifferenceHeader)
        minuend, subtrahend = requests.tiles(stream, "minuend"), requests.tiles(stream, "subtrahend")
        async for answer in self._evaluator.planes.difference(header, minuend, subtrahend):
            yield DIFFERENCE.to_message(answer)

    async def ScaleSpace(
        self, request_iterator: AsyncIterator[evaluator_pb2.ScaleSpaceRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.ScaleSpaceResponse]:
        """Streams a plan, encrypted tiles of Gaussians and their differences, and a summary."""
        stream = aiter(request_iterator)
        header = await requests.header(stream, ScaleSpaceHeader)
        async for answer in self._evaluator.planes.scale_space(header, requests.tiles(stream, "tiles")):
            yield SCALE_SPACE.to_message(answer)

    async def Prepare(
        self, request: evaluator_pb2.PrepareRequest, context: Context
    ) -> AsyncIterator[evaluator_pb2.PrepareResponse]:
        """Brings a gallery up to date, and streams progress."""
        async for progress in self._evaluator.prepare(requests.collection_id(request.collection_id)):
            yield progress.to_message()

    async def DropCollection(
        self, request: evaluator_pb2.DropCollectionRequest, context: Context
    ) -> evaluator_pb2.DropCollectionResponse:
        """Removes a gallery from the cache."""
        await self._evaluator.galleries.drop(requests.collection_id(request.collection_id))
        return evaluator_pb2.DropCollectionResponse()

    async def GetStatus(
        self, request: evaluator_pb2.GetStatusRequest, context: Context
    ) -> evaluator_pb2.GetStatusResponse:
        """Returns version, counts and sizes."""
        return (await self._evaluator.status()).to_message()


def register(evaluator: Evaluator, server: grpc.aio.Server) -> None:
    """Adds the service to a server."""
    evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(EvaluatorServicer(evaluator), server)
