"""The client of the evaluator.

Stored vectors and pixels pass here only encrypted.  Weights and kernels are in the clear, and so are the
queries for collections of additive schemes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from blindsight.additive.keys import AdditivePublicKey
from blindsight.errors import DataLoss
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.scale_space import ScaleImage
from blindsight.packing.segments import Region
from blindsight.rpc.evaluator.v1 import evaluator_pb2, evaluator_pb2_grpc
from blindsight.runtime import transfer
from blindsight.runtime.pace import Pace
from blindsight.runtime.peer import USUAL, Connection, Peer, open_call
from blindsight.runtime.roles import Role
from blindsight.trusted.clients import timeouts
from blindsight.trusted.clients.naming import renamed
from blindsight.trusted.clients.planes import Blocks, Feed
from blindsight.trusted.records import PeerStatus
from blindsight.wire.blocks import (
    COMBINE_REQUEST,
    COMPARE_ALL,
    COMPARE_ALL_REQUEST,
    AnnouncedBlock,
    CombineHeader,
    CombinePlan,
    CompareAllHeader,
    CompareAllSummary,
    ProductsResult,
)
from blindsight.wire.planes import (
    DIFFERENCE,
    SCALE_SPACE,
    SCALE_SPACE_REQUEST,
    TRANSFORM,
    TRANSFORM_REQUEST,
    DifferenceHeader,
    PlanePart,
    PlanePlan,
    PlaneSource,
    ScaleSpaceHeader,
    TransformHeader,
)
from blindsight.wire.records import Parts
from blindsight.wire.scores import (
    SCORE,
    SCORE_REQUEST,
    EvaluatorStatus,
    Progress,
    ScoreHeader,
    ScorePart,
    ScorePlan,
)

_Result = TypeVar("_Result")
_Part = TypeVar("_Part")


class EvaluatorClient:
    """A client of the evaluator.

    Computations are repeated while it is unavailable, which is safe because they change nothing.

    Args:
        address: HOST:PORT.
        connection: how to connect.
    """

    def __init__(
        self,
        address: str,
        connection: Connection = USUAL,
    ) -> None:
        self._peer = Peer(Role.EVALUATOR, address, evaluator_pb2_grpc.EvaluatorServiceStub, connection)

    async def call(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Runs work that reads answers of `score`, again from its start if the connection is lost.

        Raises:
            BlindsightError: if the evaluator reports an error, or stays unavailable.
        """
        return await self._peer.call(attempt)

    async def score(
        self,
        collection_id: bytes,
        minimum_sequence: int,
        queries: int,
        parts: Sequence[transfer.Bytes],
        regions: Collection[Region] = (),
    ) -> AsyncIterator[ScorePart]:
        """Scores queries against a collection; yields progress, a plan, results as they come, and a summary.

        It must run inside a `call`.

        Args:
            parts: the block of queries, in pieces.
            regions: regions whose columns the block holds; empty for both.
        """
        digest = await asyncio.to_thread(transfer.digest, *parts)
        size = sum(map(len, parts))
        header = ScoreHeader(collection_id, minimum_sequence, queries, size, digest, tuple(regions))

        async def requests() -> AsyncIterator[evaluator_pb2.ScoreRequest]:
            yield SCORE_REQUEST.to_message(header)
            for chunk in transfer.joined_chunks(parts):
                yield SCORE_REQUEST.to_message(chunk)

        with self._exchange(self._peer.stub.Score, requests()) as messages:
            first = await anext(messages, None)
            while first is not None and first.WhichOneof("part") == "progress":
                yield Progress.from_message(first.progress)
                first = await anext(messages, None)
            yield ScorePlan.from_message(transfer.part_of(first, "plan"))
            async for part in _until_summary(messages, SCORE):
                yield part

    async def compare_all(
        self, gallery: bytes, queries: bytes, fields: Sequence[int], fold: int
    ) -> AsyncGenerator[ProductsResult, None]:
        """Multiplies all encrypted rows by all encrypted queries; yields results in any order.

        Args:
            gallery, queries: blocks of rows and of queries one after the other.
            fields: number of columns of each field of a row, and of a query.
            fold: number of neighbouring points of a product that are added up.

        Raises:
            BlindsightError: if the evaluator reports an error, or stays unavailable.
        """
        announced = await _announced(gallery), await _announced(queries)
        header = CompareAllHeader(tuple(fields), *announced, fold)

        async def requests() -> AsyncIterator[evaluator_pb2.CompareAllRequest]:
            yield COMPARE_ALL_REQUEST.to_message(header)
            for block in (gallery, queries):
                for chunk in transfer.chunks(block):
                    yield COMPARE_ALL_REQUEST.to_message(chunk)

        came: set[tuple[int, int]] = set()
        async for trying in self._peer.attempts():
            with trying, self._exchange(self._peer.stub.CompareAll, requests()) as messages:
                again: set[tuple[int, int]] = set()
                async for got in _until_summary(messages, COMPARE_ALL):
                    if isinstance(got, CompareAllSummary):
                        continue
                    place = got.first_row, got.first_query
                    if place in again:
                        raise DataLoss("the evaluator answered with the same products twice")
                    again.add(place)
                    if place not in came:  # after a lost connection all results come again
                        came.add(place)
                        yield got
                return

    async def combine(
        self,
        public_key: AdditivePublicKey,
        weights: Sequence[int],
        blocks: Sequence[bytes],
        *,
        insecure_small_keys: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Computes the weighted sum of blocks; yields pieces of the resulting block as they come.

        Raises:
            BlindsightError: if the evaluator reports an error, or stays unavailable.
        """
        announced = tuple([await _announced(block) for block in blocks])
        header = CombineHeader(public_key.to_bytes(), tuple(weights), announced, insecure_small_keys)

        async def requests() -> AsyncIterator[evaluator_pb2.CombineRequest]:
            yield COMBINE_REQUEST.to_message(header)
            for block in blocks:
                for chunk in transfer.chunks(block):
                    yield COMBINE_REQUEST.to_message(chunk)

        came = 0
        async for trying in self._peer.attempts():
            with trying, self._exchange(self._peer.stub.Combine, requests()) as messages:
                position = 0
                plan = CombinePlan.from_message(transfer.part_of(await anext(messages, None), "header"))
                while position < plan.size_bytes:
                    chunk = transfer.part_of(await anext(messages, None), "chunk")
                    # After a lost connection the same sum comes again, perhaps in other pieces.
                    new = chunk[max(0, came - position) :]
                    position += len(chunk)
                    came = max(came, position)
                    if new:
                        yield new
                transfer.part_of(await anext(messages, None), "summary")
                transfer.require_end(await anext(messages, None))
                return

    async def transform(
        self, planes: PlaneSource, kernels: Sequence[PlaneKernel], blocks: Blocks | None = None
    ) -> AsyncGenerator[PlanePart, None]:
        """Applies kernels to encrypted planes; yields a plan, results while tiles are sent, and a summary.

        Args:
            blocks: the tiles of planes that are sent; None for stored planes.

        Raises:
            BlindsightError: if the evaluator reports an error or stays unavailable, or the making of a block
                raises one.
        """
        header = TransformHeader(planes, tuple(kernels))

        async def requests(feed: Feed) -> AsyncIterator[evaluator_pb2.TransformRequest]:
            yield TRANSFORM_REQUEST.to_message(header)
            async for tiles in feed.tiles(blocks):
                yield TRANSFORM_REQUEST.to_message(tiles)

        async for part in self._planes(self._peer.stub.Transform, requests, TRANSFORM):
            yield part

    async def scale_space(
        self,
        planes: PlaneSource,
        images: Sequence[ScaleImage],
        phases: int,
        blocks: Blocks | None = None,
    ) -> AsyncGenerator[PlanePart, None]:
        """Computes Gaussians of encrypted planes and their differences, phase by phase; like `transform`."""
        header = ScaleSpaceHeader(planes, phases, tuple(images))

        async def requests(feed: Feed) -> AsyncIterator[evaluator_pb2.ScaleSpaceRequest]:
            yield SCALE_SPACE_REQUEST.to_message(header)
            async for tiles in feed.tiles(blocks):
                yield SCALE_SPACE_REQUEST.to_message(tiles)

        async for part in self._planes(self._peer.stub.ScaleSpace, requests, SCALE_SPACE):
            yield part

    async def difference(
        self,
        minuend: PlaneSource,
        subtrahend: PlaneSource,
        blocks: Blocks | None = None,
        others: Blocks | None = None,
    ) -> AsyncGenerator[PlanePart, None]:
        """Subtracts encrypted planes; like `transform`.

        Args:
            blocks, others: the tiles of the minuend and of the subtrahend, if they are sent.
        """
        header = DifferenceHeader(minuend, subtrahend)

        async def requests(feed: Feed) -> AsyncIterator[evaluator_pb2.DifferenceRequest]:
            yield evaluator_pb2.DifferenceRequest(header=header.to_message())
            first, second = feed.tiles(blocks), feed.tiles(others)
            while True:
                tiles, other = await anext(first, None), await anext(second, None)
                if tiles is not None:
                    yield evaluator_pb2.DifferenceRequest(minuend=tiles.to_message())
                if other is not None:
                    yield evaluator_pb2.DifferenceRequest(subtrahend=other.to_message())
                if tiles is None and other is None:
                    return

        async for part in self._planes(self._peer.stub.Difference, requests, DIFFERENCE):
            yield part

    async def _planes(
        self,
        method: Callable[..., Any],
        requests: Callable[[Feed], AsyncIterator[Any]],
        kind: Parts[Any, PlanePart],
    ) -> AsyncGenerator[PlanePart, None]:
        """Yields the parts of an answer, again from the plan on after a lost connection.

        Then all that is sent is encrypted anew, so no part of the answer before belongs to it.
        """
        async for trying in self._peer.attempts():
            feed = Feed()
            with trying, self._exchange(method, requests(feed)) as messages:
                try:
                    plan = transfer.part_of(await anext(messages, None), "plan")
                    yield PlanePlan.from_message(plan)
                    async for part in _until_summary(messages, kind):
                        yield part
                except asyncio.CancelledError:
                    if feed.error is not None:
                        raise feed.error from None
                    raise
                return

    @staticmethod
    def _pace() -> Pace:
        return Pace("the evaluator", timeouts.EVALUATOR_SILENCE_SECONDS)

    @contextmanager
    def _exchange(
        self, method: Callable[..., Any], requests: AsyncIterator[Any]
    ) -> Iterator[AsyncIterator[Any]]:
        """Sends requests while the block runs; gives the messages that come back."""
        pace = self._pace()
        with open_call(method(pace.sending(requests), metadata=renamed("evaluator"))) as call:
            yield pace.reading(call)

    async def prepare(self, collection_id: bytes) -> None:
        """Makes the evaluator fetch the batches of a collection that it lacks."""
        request = evaluator_pb2.PrepareRequest(collection_id=collection_id)

        async def attempt() -> None:
            with open_call(self._peer.stub.Prepare(request, metadata=renamed("evaluator"))) as call:
                done = total = 0
                async for message in self._pace().reading(call):
                    progress = Progress.from_message(message)
                    done, total = progress.batches_done, progress.batches_total
            if done != total:
                raise DataLoss(f"the evaluator was done after {done} batches, want {total}")

        await self._peer.call(attempt)

    async def drop_collection(self, collection_id: bytes) -> None:
        """Makes the evaluator forget a collection."""
        request = evaluator_pb2.DropCollectionRequest(collection_id=collection_id)
        with self._peer.errors():
            await self._peer.stub.DropCollection(
                request, metadata=renamed("evaluator"), timeout=timeouts.CALL_SECONDS
            )

    async def status(self) -> PeerStatus:
        """Returns the evaluator's version, counts and sizes."""
        request = evaluator_pb2.GetStatusRequest()
        with self._peer.errors():
            answer = await self._peer.stub.GetStatus(
                request, metadata=renamed("evaluator"), timeout=timeouts.STATUS_SECONDS
            )
        said = EvaluatorStatus.from_message(answer)
        return PeerStatus(said.version, said.collections, 0, said.disk_bytes, said.memory_bytes)

    async def close(self) -> None:
        """Closes the connection."""
        await self._peer.close()


async def _announced(block: bytes) -> AnnouncedBlock:
    return AnnouncedBlock(len(block), await asyncio.to_thread(transfer.digest, block))


async def _until_summary(messages: AsyncIterator[Any], kind: Parts[Any, _Part]) -> AsyncIterator[_Part]:
    """Yields results and the summary, which must be the last message.

    Raises:
        DataLoss: if the messages are anything else.
    """
    async for message in messages:
        last = message.WhichOneof("part") == "summary"
        if last:
            transfer.require_end(await anext(messages, None))
        else:
            transfer.part_of(message, "result")
        with transfer.answer_of("the evaluator"):
            part = kind.from_message(message)
        yield part
        if last:
            return
    raise DataLoss("the evaluator ended its answer without a summary")
