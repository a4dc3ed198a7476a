"""Between the messages of `blindsight.evaluator.v1` and the evaluator's own types."""

from __future__ import annotations

from collections.abc import AsyncIterator

from blindsight.columns import Region
from blindsight.errors import InvalidArgument
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.untrusted.evaluator.galleries.refresh import Progress
from blindsight.untrusted.evaluator.galleries.scorer import Plan, ScoreBlock
from blindsight.untrusted.evaluator.operations.combine import (
    AnnouncedBlock,
    CombineAnswer,
    CombineHeader,
    CombinePlan,
)
from blindsight.untrusted.evaluator.operations.search import COLLECTION_ID_BYTES, Answer, SearchHeader
from blindsight.untrusted.evaluator.segments import SegmentKey


async def search_header(requests: AsyncIterator[evaluator_pb2.ScoreRequest]) -> SearchHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise, or names a region that there is not.
    """
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header")
    header = first.header
    return SearchHeader(
        header.collection_id,
        header.minimum_sequence,
        header.queries,
        header.size_bytes,
        header.sha256,
        frozenset(map(_segment, header.only)),
        frozenset(map(_region, header.regions)) or frozenset(Region),
    )


def _segment(given: evaluator_pb2.SegmentId) -> SegmentKey:
    return SegmentKey(_region(given.region), given.index)


def _region(given: int) -> Region:
    try:
        return Region(given)
    except ValueError:
        raise InvalidArgument(f"region {given}, want one of {[int(one) for one in Region]}") from None


async def chunks(
    requests: AsyncIterator[evaluator_pb2.ScoreRequest] | AsyncIterator[evaluator_pb2.CombineRequest],
) -> AsyncIterator[bytes]:
    """The chunks that follow.

    Raises:
        InvalidArgument: for anything else.
    """
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("the stream holds something other than chunks after its header")
        yield request.chunk


async def combine_header(requests: AsyncIterator[evaluator_pb2.CombineRequest]) -> CombineHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise.
    """
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header")
    header = first.header
    return CombineHeader(
        header.public_key,
        tuple(header.weights),
        tuple(AnnouncedBlock(block.size_bytes, block.sha256) for block in header.blocks),
        header.insecure_small_keys,
    )


def combine_response(answer: CombineAnswer) -> evaluator_pb2.CombineResponse:
    """One message of a weighted sum."""
    if isinstance(answer, bytes):
        return evaluator_pb2.CombineResponse(chunk=answer)
    if isinstance(answer, CombinePlan):
        plan = evaluator_pb2.CombineResultHeader(size_bytes=answer.size_bytes)
        return evaluator_pb2.CombineResponse(header=plan)
    summary = evaluator_pb2.CombineSummary(compute_seconds=answer.compute_seconds)
    return evaluator_pb2.CombineResponse(summary=summary)


def score_response(answer: Answer) -> evaluator_pb2.ScoreResponse:
    """One message of a search's answer."""
    if isinstance(answer, Plan):
        plan = evaluator_pb2.ScorePlan(
            sequence=answer.sequence,
            epoch=answer.epoch,
            main_segments=answer.main_segments,
            tail_segments=answer.tail_segments,
        )
        return evaluator_pb2.ScoreResponse(plan=plan)
    if isinstance(answer, ScoreBlock):
        return _result(answer)
    summary = evaluator_pb2.ScoreSummary(
        refresh_seconds=answer.refresh_seconds,
        expand_seconds=answer.expand_seconds,
        kernel_seconds=answer.kernel_seconds,
        scanned_bytes=answer.scanned_bytes,
    )
    return evaluator_pb2.ScoreResponse(summary=summary)


def _result(scores: ScoreBlock) -> evaluator_pb2.ScoreResponse:
    # Filled in place: to wrap a message of a megabyte in another takes protobuf two milliseconds, on
    # the event loop, and there are many.
    response = evaluator_pb2.ScoreResponse()
    result = response.result
    result.region = evaluator_pb2.Region.ValueType(scores.region)
    result.segments.extend(scores.segments)
    result.first_query = scores.first_query
    result.queries = scores.queries
    result.block = scores.block
    return response


def prepare_response(progress: Progress) -> evaluator_pb2.PrepareResponse:
    """How far a refresh is."""
    return evaluator_pb2.PrepareResponse(
        batches_done=progress.done, batches_total=progress.total, sequence=progress.sequence
    )


def collection_id(given: bytes) -> bytes:
    """Checks an id.

    Raises:
        InvalidArgument: when it is not 16 bytes.
    """
    if len(given) != COLLECTION_ID_BYTES:
        raise InvalidArgument(f"collection id of {len(given)} bytes, want {COLLECTION_ID_BYTES}")
    return given
