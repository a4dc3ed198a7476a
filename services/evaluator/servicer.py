"""The rpcs of `blindsight.evaluator.v1.EvaluatorService`: parse, delegate, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from blindsight.rpc.evaluator.v1 import evaluator_pb2, evaluator_pb2_grpc
from services.evaluator import wire
from services.evaluator.service import Evaluator

Context = grpc.aio.ServicerContext[Any, Any]
NAME: str = evaluator_pb2.DESCRIPTOR.services_by_name["EvaluatorService"].full_name


class EvaluatorServicer(evaluator_pb2_grpc.EvaluatorServiceServicer):
    """Computes on ciphertexts for anyone who can reach it; see the contract for what it learns."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    async def Score(
        self, request_iterator: AsyncIterator[evaluator_pb2.ScoreRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.ScoreResponse]:
        """Streams a plan, encrypted scores per segment, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.search_header(requests)
        async for answer in self._evaluator.searches.run(header, wire.chunks(requests)):
            yield wire.score_response(answer)

    async def Compare(
        self, request: evaluator_pb2.CompareRequest, context: Context
    ) -> evaluator_pb2.CompareResponse:
        """Multiplies one encrypted row by one encrypted query."""
        block, seconds = await self._evaluator.compare(request.gallery, request.query, request.fields)
        return evaluator_pb2.CompareResponse(block=block, kernel_seconds=seconds)

    async def CompareAll(
        self, request_iterator: AsyncIterator[evaluator_pb2.CompareAllRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.CompareAllResponse]:
        """Streams the products of all encrypted rows with all encrypted queries, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.compare_all_header(requests)
        async for answer in self._evaluator.comparisons.run(header, wire.chunks(requests)):
            yield wire.compare_all_response(answer)

    async def Combine(
        self, request_iterator: AsyncIterator[evaluator_pb2.CombineRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.CombineResponse]:
        """Streams the size of a weighted sum of encrypted arrays, the sum, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.combine_header(requests)
        async for answer in self._evaluator.combinations.run(header, wire.chunks(requests)):
            yield wire.combine_response(answer)

    async def Transform(
        self, request_iterator: AsyncIterator[evaluator_pb2.TransformRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.TransformResponse]:
        """Streams a plan, encrypted tiles multiplied by every kernel, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.transform_header(requests)
        async for answer in self._evaluator.planes.transform(header, wire.tiles(requests, "tiles")):
            yield wire.plane_response(answer, evaluator_pb2.TransformResponse)

    async def Difference(
        self, request_iterator: AsyncIterator[evaluator_pb2.DifferenceRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.DifferenceResponse]:
        """Streams a plan, encrypted tiles less others, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.difference_header(requests)
        minuend, subtrahend = wire.tiles(requests, "minuend"), wire.tiles(requests, "subtrahend")
        async for answer in self._evaluator.planes.difference(header, minuend, subtrahend):
            yield wire.plane_response(answer, evaluator_pb2.DifferenceResponse)

    async def ScaleSpace(
        self, request_iterator: AsyncIterator[evaluator_pb2.ScaleSpaceRequest], context: Context
    ) -> AsyncIterator[evaluator_pb2.ScaleSpaceResponse]:
        """Streams a plan, encrypted tiles of Gaussians and their differences, and a summary."""
        requests = aiter(request_iterator)
        header = await wire.scale_space_header(requests)
        async for answer in self._evaluator.planes.transform(header, wire.tiles(requests, "tiles")):
            yield wire.plane_response(answer, evaluator_pb2.ScaleSpaceResponse)

    async def Prepare(
        self, request: evaluator_pb2.PrepareRequest, context: Context
    ) -> AsyncIterator[evaluator_pb2.PrepareResponse]:
        """Brings a gallery up to date, telling how far it is."""
        async for progress in self._evaluator.prepare(wire.collection_id(request.collection_id)):
            yield wire.prepare_response(progress)

    async def DropCollection(
        self, request: evaluator_pb2.DropCollectionRequest, context: Context
    ) -> evaluator_pb2.DropCollectionResponse:
        """Forgets a gallery."""
        await self._evaluator.galleries.drop(wire.collection_id(request.collection_id))
        return evaluator_pb2.DropCollectionResponse()

    async def GetStatus(
        self, request: evaluator_pb2.GetStatusRequest, context: Context
    ) -> evaluator_pb2.GetStatusResponse:
        """Version, counts and sizes."""
        current = await self._evaluator.status()
        return evaluator_pb2.GetStatusResponse(
            version=current.version,
            collections=current.collections,
            segments=current.segments,
            disk_bytes=current.disk_bytes,
            memory_bytes=current.memory_bytes,
        )


def register(evaluator: Evaluator, server: grpc.aio.Server) -> None:
    """Adds the service to a server."""
    evaluator_pb2_grpc.add_EvaluatorServiceServicer_to_server(EvaluatorServicer(evaluator), server)
