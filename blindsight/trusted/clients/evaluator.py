"""The evaluator, as the keyholder calls it.  Only encrypted bytes pass here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from blindsight.additive.keys import AdditivePublicKey
from blindsight.errors import DataLoss
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.scale_space import ScaleImage
from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.evaluator.v1 import evaluator_pb2, evaluator_pb2_grpc
from blindsight.runtime import transfer as streams
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.runtime.channels import KEEPALIVE_SECONDS
from blindsight.runtime.peer import Peer, metadata, open_call
from blindsight.trusted.clients import planes as sending
from blindsight.trusted.clients import timeouts as calls
from blindsight.trusted.clients.parts import (
    Blocks,
    PlanePart,
    PlanePlan,
    PlaneSource,
    ProductsResult,
    ScorePart,
    ScorePlan,
    ScoreResult,
    ScoreSummary,
)
from blindsight.trusted.records import PeerStatus

_Result = TypeVar("_Result")


class EvaluatorClient:
    """Calls to the evaluator; made again while it is away: it keeps nothing that could be done twice.

    Args:
        address: HOST:PORT.
        keepalive_seconds, retry_seconds: see `Peer`.
    """

    def __init__(
        self,
        address: str,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._peer = Peer("evaluator", address, keepalive_seconds, retry_seconds)
        self._stub = evaluator_pb2_grpc.EvaluatorServiceStub(self._peer.channel)

    async def call(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Does work that takes answers of `score`, and from its beginning when the evaluator went away.

        Raises:
            BlindsightError: what the evaluator raised, or Unavailable.
        """
        return await self._peer.call(attempt)

    async def score(
        self,
        collection_id: bytes,
        minimum_sequence: int,
        queries: int,
        block: bytes,
        only: Collection[SegmentId] = (),
        regions: Collection[Region] = (),
    ) -> AsyncIterator[ScorePart]:
        """Scores queries against a collection: a plan, results as they come, a summary; in a `call`.

        Args:
            only: the segments that are wanted; none: all.
            regions: whose columns the block holds; none: those of both.
        """
        header = evaluator_pb2.ScoreHeader(
            collection_id=collection_id,
            minimum_sequence=minimum_sequence,
            queries=queries,
            size_bytes=len(block),
            sha256=await asyncio.to_thread(streams.digest, block),
            only=[_segment_id(key) for key in only],
            regions=[evaluator_pb2.Region.ValueType(region) for region in regions],
        )

        async def requests() -> AsyncIterator[evaluator_pb2.ScoreRequest]:
            yield evaluator_pb2.ScoreRequest(header=header)
            for chunk in streams.chunks(block):
                yield evaluator_pb2.ScoreRequest(chunk=chunk)

        with open_call(self._stub.Score(requests(), metadata=metadata())) as call:
            messages = aiter(call)
            yield _plan(streams.part_of(await anext(messages, None), "plan"))
            async for result in _until_summary(messages):
                yield _score_part(result)

    async def compare(self, gallery: bytes, query: bytes, fields: Sequence[int]) -> bytes:
        """Multiplies one encrypted row by one encrypted query: a block of one product per field.

        Args:
            fields: ciphertexts of each field.

        Raises:
            BlindsightError: what the evaluator raised, or Unavailable.
        """
        request = evaluator_pb2.CompareRequest(gallery=gallery, query=query, fields=fields)

        async def attempt() -> bytes:
            answer = await self._stub.Compare(request, metadata=metadata(), timeout=calls.CALL_SECONDS)
            return answer.block

        return await self._peer.call(attempt)

    async def compare_all(
        self, gallery: bytes, queries: bytes, columns: int
    ) -> AsyncGenerator[ProductsResult, None]:
        """Multiplies all encrypted rows by all encrypted queries; results come in any order.

        Args:
            gallery, queries: blocks of rows and of queries one after the other.
            columns: ciphertexts of each.

        Raises:
            BlindsightError: what the evaluator raised, or Unavailable.
        """
        announced = [
            evaluator_pb2.AnnouncedBlock(
                size_bytes=len(block), sha256=await asyncio.to_thread(streams.digest, block)
            )
            for block in (gallery, queries)
        ]
        header = evaluator_pb2.CompareAllHeader(columns=columns, gallery=announced[0], queries=announced[1])

        async def requests() -> AsyncIterator[evaluator_pb2.CompareAllRequest]:
            yield evaluator_pb2.CompareAllRequest(header=header)
            for block in (gallery, queries):
                for chunk in streams.chunks(block):
                    yield evaluator_pb2.CompareAllRequest(chunk=chunk)

        came: set[tuple[int, int]] = set()
        async for trying in self._peer.attempts():
            with trying, open_call(self._stub.CompareAll(requests(), metadata=metadata())) as call:
                again: set[tuple[int, int]] = set()
                async for response in _until_summary(aiter(call)):
                    if response.WhichOneof("part") == "summary":
                        continue
                    got = response.result
                    place = got.query, got.first_row
                    if place in again:
                        raise DataLoss("the evaluator answered with the same products twice")
                    again.add(place)
                    if place not in came:  # after a lost connection all of them come again
                        came.add(place)
                        yield ProductsResult(got.query, got.first_row, got.block)
                return

    async def combine(
        self,
        public_key: AdditivePublicKey,
        weights: Sequence[int],
        blocks: Sequence[bytes],
        *,
        insecure_small_keys: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """The weighted sum of blocks, as pieces of a block while it is computed.

        Raises:
            BlindsightError: what the evaluator raised, or Unavailable.
        """
        announced = [
            evaluator_pb2.AnnouncedBlock(
                size_bytes=len(block), sha256=await asyncio.to_thread(streams.digest, block)
            )
            for block in blocks
        ]
        header = evaluator_pb2.CombineHeader(
            public_key=public_key.to_bytes(),
            weights=weights,
            blocks=announced,
            insecure_small_keys=insecure_small_keys,
        )

        async def requests() -> AsyncIterator[evaluator_pb2.CombineRequest]:
            yield evaluator_pb2.CombineRequest(header=header)
            for block in blocks:
                for chunk in streams.chunks(block):
                    yield evaluator_pb2.CombineRequest(chunk=chunk)

        came = 0
        async for trying in self._peer.attempts():
            with trying, open_call(self._stub.Combine(requests(), metadata=metadata())) as call:
                position = 0
                messages = aiter(call)
                size_bytes = streams.part_of(await anext(messages, None), "header").size_bytes
                while position < size_bytes:
                    chunk = streams.part_of(await anext(messages, None), "chunk")
                    # The same sum again after a lost connection, whatever its pieces are.
                    new = chunk[max(0, came - position) :]
                    position += len(chunk)
                    came = max(came, position)
                    if new:
                        yield new
                streams.part_of(await anext(messages, None), "summary")
                streams.require_end(await anext(messages, None))
                return

    async def transform(
        self, planes: PlaneSource, kernels: Sequence[PlaneKernel], blocks: Blocks | None = None
    ) -> AsyncGenerator[PlanePart, None]:
        """Applies kernels to encrypted planes: a plan, results while tiles still go out, a summary.

        Args:
            blocks: of planes that are sent.

        Raises:
            BlindsightError: what the evaluator raised, what making a block raised, or Unavailable.
        """
        header = evaluator_pb2.TransformHeader(
            planes=sending.source(planes), kernels=map(sending.kernel, kernels)
        )

        async def requests(feed: sending.Feed) -> AsyncIterator[evaluator_pb2.TransformRequest]:
            yield evaluator_pb2.TransformRequest(header=header)
            async for tiles in feed.tiles(blocks):
                yield evaluator_pb2.TransformRequest(tiles=tiles)

        async for part in self._planes(self._stub.Transform, requests):
            yield part

    async def scale_space(
        self,
        planes: PlaneSource,
        images: Sequence[ScaleImage],
        phases: int,
        blocks: Blocks | None = None,
    ) -> AsyncGenerator[PlanePart, None]:
        """Gaussians of encrypted planes, and differences of them; as `transform`, phase by phase."""
        header = evaluator_pb2.ScaleSpaceHeader(
            planes=sending.source(planes),
            phases=phases,
            images=[
                evaluator_pb2.ScaleSpaceImage(sigma=one.sigma, less=one.less, bits=one.bits) for one in images
            ],
        )

        async def requests(feed: sending.Feed) -> AsyncIterator[evaluator_pb2.ScaleSpaceRequest]:
            yield evaluator_pb2.ScaleSpaceRequest(header=header)
            async for tiles in feed.tiles(blocks):
                yield evaluator_pb2.ScaleSpaceRequest(tiles=tiles)

        async for part in self._planes(self._stub.ScaleSpace, requests):
            yield part

    async def difference(
        self,
        minuend: PlaneSource,
        subtrahend: PlaneSource,
        blocks: Blocks | None = None,
        others: Blocks | None = None,
    ) -> AsyncGenerator[PlanePart, None]:
        """Subtracts encrypted planes; as `transform`.

        Args:
            blocks, others: of the minuend and of the subtrahend, if they are sent.
        """
        header = evaluator_pb2.DifferenceHeader(
            minuend=sending.source(minuend), subtrahend=sending.source(subtrahend)
        )

        async def requests(feed: sending.Feed) -> AsyncIterator[evaluator_pb2.DifferenceRequest]:
            yield evaluator_pb2.DifferenceRequest(header=header)
            first, second = feed.tiles(blocks), feed.tiles(others)
            while True:
                tiles, other = await anext(first, None), await anext(second, None)
                if tiles is not None:
                    yield evaluator_pb2.DifferenceRequest(minuend=tiles)
                if other is not None:
                    yield evaluator_pb2.DifferenceRequest(subtrahend=other)
                if tiles is None and other is None:
                    return

        async for part in self._planes(self._stub.Difference, requests):
            yield part

    async def _planes(
        self, method: Callable[..., Any], requests: Callable[[sending.Feed], AsyncIterator[Any]]
    ) -> AsyncGenerator[PlanePart, None]:
        """Parts of an answer; from its beginning again after a lost connection, but for what came before."""
        came = 0
        async for trying in self._peer.attempts():
            feed = sending.Feed()
            with trying, open_call(method(requests(feed), metadata=metadata())) as call:
                position = 0
                try:
                    messages = aiter(call)
                    plan = streams.part_of(await anext(messages, None), "plan")
                    if not came:
                        yield PlanePlan(plan.ciphertexts)
                    async for response in _until_summary(messages):
                        position += 1
                        if position > came:
                            came = position
                            yield sending.part_of(response)
                except asyncio.CancelledError:
                    if feed.error is not None:
                        raise feed.error from None
                    raise
                return

    async def prepare(self, collection_id: bytes) -> None:
        """Lets the evaluator fetch what it lacks."""
        request = evaluator_pb2.PrepareRequest(collection_id=collection_id)

        async def attempt() -> None:
            with open_call(self._stub.Prepare(request, metadata=metadata())) as call:
                done = total = 0
                async for progress in call:
                    done, total = progress.batches_done, progress.batches_total
            if done != total:
                raise DataLoss(f"the evaluator was done after {done} batches, want {total}")

        await self._peer.call(attempt)

    async def drop_collection(self, collection_id: bytes) -> None:
        """Lets the evaluator forget a collection."""
        request = evaluator_pb2.DropCollectionRequest(collection_id=collection_id)
        with self._peer.errors():
            await self._stub.DropCollection(request, metadata=metadata(), timeout=calls.CALL_SECONDS)

    async def status(self) -> PeerStatus:
        """Version, counts and sizes."""
        request = evaluator_pb2.GetStatusRequest()
        with self._peer.errors():
            answer = await self._stub.GetStatus(request, metadata=metadata(), timeout=calls.STATUS_SECONDS)
        return PeerStatus(answer.version, answer.collections, 0, answer.disk_bytes, answer.memory_bytes)

    async def close(self) -> None:
        """Closes the connection."""
        await self._peer.close()


def _segment_id(key: SegmentId) -> evaluator_pb2.SegmentId:
    return evaluator_pb2.SegmentId(region=evaluator_pb2.Region.ValueType(key.region), index=key.index)


async def _until_summary(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Results, and the summary that must be the last message.

    Raises:
        DataLoss: for anything else.
    """
    async for message in messages:
        part = message.WhichOneof("part")
        if part == "summary":
            streams.require_end(await anext(messages, None))
            yield message
            return
        streams.part_of(message, "result")
        yield message
    raise DataLoss("the evaluator ended its answer without a summary")


def _plan(plan: evaluator_pb2.ScorePlan) -> ScorePlan:
    return ScorePlan(plan.sequence, plan.epoch, plan.main_segments + plan.tail_segments)


def _score_part(response: evaluator_pb2.ScoreResponse) -> ScoreResult | ScoreSummary:
    if response.WhichOneof("part") == "result":
        got = response.result
        region = calls.region_of(got.region)
        return ScoreResult(region, tuple(got.segments), got.first_query, got.queries, got.block)
    summary = response.summary
    return ScoreSummary(
        summary.refresh_seconds, summary.expand_seconds, summary.kernel_seconds, summary.scanned_bytes
    )
