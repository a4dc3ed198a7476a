"""Between the messages of `blindsight.evaluator.v1` and the evaluator's own types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import MAX_KERNELS, PlaneKernel
from blindsight.packing.scale_space import ScaleImage, check_phases
from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from services.evaluator.galleries.refresh import Progress
from services.evaluator.galleries.scorer import Plan, ScoreBlock
from services.evaluator.operations.combine import CombineAnswer, CombineHeader, CombinePlan
from services.evaluator.operations.cross_products import CompareAllAnswer, CompareAllHeader, Products
from services.evaluator.operations.imaging import (
    DifferenceHeader,
    PlaneAnswer,
    PlaneResult,
    PlaneSummary,
    TransformHeader,
)
from services.evaluator.operations.intake import AnnouncedBlock
from services.evaluator.operations.paillier_planes import StackAnswer, StackPlan, StackRow, StackSummary
from services.evaluator.operations.search import COLLECTION_ID_BYTES, Answer, SearchHeader
from services.evaluator.operations.sources import PlaneSource, SentPlanes, StackedPlanes, StoredPlanes, Tiles


async def search_header(requests: AsyncIterator[evaluator_pb2.ScoreRequest]) -> SearchHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise, or names a region that there is not.
    """
    header = await _first(requests)
    return SearchHeader(
        header.collection_id,
        header.minimum_sequence,
        header.queries,
        header.size_bytes,
        header.sha256,
        frozenset(map(_segment, header.only)),
        frozenset(map(_region, header.regions)) or frozenset(Region),
    )


def _segment(given: evaluator_pb2.SegmentId) -> SegmentId:
    return SegmentId(_region(given.region), given.index)


def _region(given: int) -> Region:
    try:
        return Region(given)
    except ValueError:
        raise InvalidArgument(f"region {given}, want one of {[int(one) for one in Region]}") from None


async def chunks(
    requests: AsyncIterator[evaluator_pb2.ScoreRequest]
    | AsyncIterator[evaluator_pb2.CombineRequest]
    | AsyncIterator[evaluator_pb2.CompareAllRequest],
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
    header = await _first(requests)
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


async def compare_all_header(
    requests: AsyncIterator[evaluator_pb2.CompareAllRequest],
) -> CompareAllHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise.
    """
    header = await _first(requests)
    gallery, queries = (
        AnnouncedBlock(one.size_bytes, one.sha256) for one in (header.gallery, header.queries)
    )
    return CompareAllHeader(header.columns, gallery, queries)


def compare_all_response(answer: CompareAllAnswer) -> evaluator_pb2.CompareAllResponse:
    """One message of a comparison of all with all."""
    response = evaluator_pb2.CompareAllResponse()
    if isinstance(answer, Products):
        # Filled in place, as in `_result`.
        response.result.query = answer.query
        response.result.first_row = answer.first_row
        response.result.block = answer.block
    else:
        response.summary.expand_seconds = answer.expand_seconds
        response.summary.kernel_seconds = answer.kernel_seconds
    return response


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


async def transform_header(requests: AsyncIterator[evaluator_pb2.TransformRequest]) -> TransformHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise, or a kernel is none.
    """
    header = await _first(requests)
    planes = header.planes
    source = _stacked(planes.stacked) if planes.HasField("stacked") else _source(planes)
    return TransformHeader(source, tuple(map(_kernel, header.kernels)))


async def scale_space_header(requests: AsyncIterator[evaluator_pb2.ScaleSpaceRequest]) -> TransformHeader:
    """The header that a stream begins with, its images as kernels.

    Raises:
        InvalidArgument: when the stream begins otherwise, or an image is none.
    """
    header = await _first(requests)
    check_phases(header.phases)
    most = MAX_KERNELS // header.phases**2
    if not 1 <= len(header.images) <= most:
        raise InvalidArgument(f"{len(header.images)} images of a scale space, want 1 to {most}")
    images = (
        ScaleImage(one.sigma, one.less if one.HasField("less") else None, one.bits) for one in header.images
    )
    kernels = tuple(kernel for image in images for kernel in image.plane_kernels(header.phases))
    return TransformHeader(_source(header.planes), kernels, "scale_space")


async def difference_header(requests: AsyncIterator[evaluator_pb2.DifferenceRequest]) -> DifferenceHeader:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: when the stream begins otherwise.
    """
    header = await _first(requests)
    return DifferenceHeader(_source(header.minuend), _source(header.subtrahend))


async def _first(requests: AsyncIterator[Any]) -> Any:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header")
    return first.header


def _stacked(given: evaluator_pb2.StackedPlanes) -> StackedPlanes:
    return StackedPlanes(given.public_key, given.header, given.height, given.width, given.halo)


def _source(given: evaluator_pb2.PlaneSource) -> PlaneSource:
    kind = given.WhichOneof("from")
    if kind == "sent":
        sent = given.sent
        return SentPlanes(sent.parameter_set, sent.key_id, sent.ciphertexts, sent.halo)
    if kind == "stored":
        return StoredPlanes(given.stored.collection_id, given.stored.handle)
    if kind == "stacked":
        raise InvalidArgument("stacked planes, which are for Transform alone, want sent or stored ones")
    raise InvalidArgument("planes from nowhere, want sent or stored ones")


def _kernel(given: evaluator_pb2.PlaneKernel) -> PlaneKernel:
    anchor = given.anchor_row, given.anchor_column
    return PlaneKernel(given.height, given.width, *anchor, tuple(given.weights), given.offset)


async def tiles(requests: AsyncIterator[Any], kind: str) -> AsyncIterator[Tiles]:
    """The tiles that follow; two of these may take turns with one stream.

    Args:
        kind: the part of the request that they stand in.

    Raises:
        InvalidArgument: for anything else.
    """
    async for request in requests:
        got = request.WhichOneof("part")
        if got != kind:
            raise InvalidArgument(f"the stream holds {got or 'an empty message'} where {kind} is wanted")
        part = getattr(request, kind)
        yield Tiles(part.block, part.sha256)


PlaneResponse = TypeVar(
    "PlaneResponse",
    evaluator_pb2.TransformResponse,
    evaluator_pb2.DifferenceResponse,
    evaluator_pb2.ScaleSpaceResponse,
)


def plane_response(answer: PlaneAnswer | StackAnswer, kind: type[PlaneResponse]) -> PlaneResponse:
    """One message of what becomes of planes."""
    response = kind()
    if isinstance(answer, PlaneResult | StackRow):
        # Filled in place, as in `_result`.
        response.result.kernel = answer.kernel
        response.result.first = answer.first
        response.result.block = answer.block
    elif isinstance(answer, PlaneSummary | StackSummary):
        response.summary.compute_seconds = answer.compute_seconds
    elif isinstance(answer, StackPlan):
        response.plan.key_id = answer.key.key_id
        response.plan.ciphertexts = answer.stack.results
        response.plan.halo = answer.stack.halo
    else:
        response.plan.parameter_set = answer.parameters.name
        response.plan.key_id = answer.key_id
        response.plan.ciphertexts = answer.ciphertexts
        response.plan.halo = answer.halo
        response.plan.width = answer.width
        response.plan.height = answer.height
        response.plan.channels = answer.channels
    return response
