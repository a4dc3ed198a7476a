"""The rpcs of image processing: each parses its request, delegates, and converts the result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import grpc.aio

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.rpc.keyholder.v1 import imaging_pb2_grpc
from blindsight.runtime.transfer import chunks
from blindsight.wire.imaging import DiffHeader, FilterHeader, KeypointsHeader, MatchHeader, PictureHeader
from blindsight.wire.records import Record
from services.keyholder.imaging import wire
from services.keyholder.imaging.engine import Progress
from services.keyholder.imaging.facade import Processing
from services.keyholder.quotas import Allowance, HeavyJob, heavy

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ImagingService"].full_name
Result = TypeVar("Result")
Response = TypeVar("Response", pb.FilterResponse, pb.DiffResponse, pb.KeypointsResponse, pb.MatchResponse)
Context = grpc.aio.ServicerContext[Any, Any]


class ImagingServicer(imaging_pb2_grpc.ImagingServiceServicer):
    """The image processing service.

    Args:
        current: returns the jobs of the current call's caller.
        allowance: returns what they may use.
    """

    def __init__(self, current: Callable[[], Processing], allowance: Callable[[], Allowance]) -> None:
        self._current = current
        self._allowance = allowance

    def heavy_job(self) -> AbstractContextManager[HeavyJob]:
        """Counts a heavy job of the current call's caller."""
        return self._allowance().heavy_job()

    @property
    def _processing(self) -> Processing:
        return self._current()

    @heavy
    async def Filter(
        self, request_iterator: AsyncIterator[pb.FilterRequest], context: Context
    ) -> AsyncIterator[pb.FilterResponse]:
        """Filters one picture."""
        requests = aiter(request_iterator)
        header = FilterHeader.from_message(await _header(requests))
        settings = wire.filter_settings(header)
        (source,) = await wire.sources(requests, header.stored)
        answers = self._processing.filter.run(settings, source)
        async for response in _responses(answers, pb.FilterResponse, wire.filtered):
            yield response

    @heavy
    async def Diff(
        self, request_iterator: AsyncIterator[pb.DiffRequest], context: Context
    ) -> AsyncIterator[pb.DiffResponse]:
        """Subtracts one picture from another."""
        requests = aiter(request_iterator)
        header = DiffHeader.from_message(await _header(requests))
        settings = wire.diff_settings(header)
        first, second = await wire.sources(requests, header.stored_a, header.stored_b)
        answers = self._processing.difference.run(settings, (first, second))
        async for response in _responses(answers, pb.DiffResponse, wire.differed):
            yield response

    @heavy
    async def Keypoints(
        self, request_iterator: AsyncIterator[pb.KeypointsRequest], context: Context
    ) -> AsyncIterator[pb.KeypointsResponse]:
        """Finds the keypoints of one picture."""
        requests = aiter(request_iterator)
        header = KeypointsHeader.from_message(await _header(requests))
        settings = wire.keypoint_settings(header.settings)
        (source,) = await wire.sources(requests, header.stored)
        answers = self._processing.keypoints.run(settings, source)
        async for response in _responses(answers, pb.KeypointsResponse, wire.detected):
            yield response

    @heavy
    async def Match(
        self, request_iterator: AsyncIterator[pb.MatchRequest], context: Context
    ) -> AsyncIterator[pb.MatchResponse]:
        """Matches the keypoints of two pictures."""
        requests = aiter(request_iterator)
        header = MatchHeader.from_message(await _header(requests))
        settings = wire.match_settings(header)
        first, second = await wire.sources(requests, header.stored_a, header.stored_b)
        answers = self._processing.match.run(settings, (first, second))
        async for response in _responses(answers, pb.MatchResponse, wire.matched):
            yield response


def register(
    current: Callable[[], Processing], allowance: Callable[[], Allowance], server: grpc.aio.Server
) -> None:
    """Adds the rpcs of image processing to a server; see `ImagingServicer`."""
    imaging_pb2_grpc.add_ImagingServiceServicer_to_server(ImagingServicer(current, allowance), server)


async def _header(requests: AsyncIterator[Any]) -> Any:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header, want one")
    return first.header


async def _responses(
    answers: AsyncIterator[Progress | Result],
    kind: type[Response],
    convert: Callable[[Result], tuple[Record[Any], list[wire.Named]]],
) -> AsyncIterator[Response]:
    """Yields a job's progress, then its result, then each picture as a header and chunks."""
    async for answer in answers:
        if isinstance(answer, Progress):
            yield kind(progress=wire.progress(answer).to_message())
            continue
        result, pictures = convert(answer)
        yield kind(result=result.to_message())
        for name, picture in pictures:
            header, data = PictureHeader.of(name, picture.kind.value, picture.values)
            yield kind(picture=header.to_message())
            for chunk in chunks(data):
                yield kind(chunk=chunk)
