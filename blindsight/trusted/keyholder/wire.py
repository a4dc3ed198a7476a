"""The keyholder's proto messages on one side, plain records on the other."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator

import numpy as np

from blindsight.additive import schemes
from blindsight.additive.layout import Integers
from blindsight.columns import Floats, Region
from blindsight.errors import BlindsightError, InvalidArgument, InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.streams import MAX_PHOTO_BYTES, Receiver, chunks, digest
from blindsight.trusted.keyholder.combine import MAX_INPUTS, MAX_VALUES, Combination, CombineProgress, Stage
from blindsight.trusted.keyholder.combine import Input as CombineInput
from blindsight.trusted.keyholder.combine import Settings as CombineSettings
from blindsight.trusted.keyholder.combining import ImageMode
from blindsight.trusted.keyholder.ingest import ItemResult, Photo, Progress, Vectors
from blindsight.trusted.keyholder.linear import Metric
from blindsight.trusted.keyholder.records import ItemMetadata
from blindsight.trusted.keyholder.repack import RepackProgress
from blindsight.trusted.keyholder.scoring import Timings
from blindsight.trusted.keyholder.search import MAX_QUERIES, Hit
from blindsight.trusted.keyholder.service import ServiceReport
from blindsight.trusted.keyholder.vault import OpenCollection
from blindsight.trusted.keyholder.verify import Input, Settings, Verification

METRICS: dict[int, Metric] = {
    pb.METRIC_UNSPECIFIED: Metric.COSINE,
    pb.METRIC_COSINE: Metric.COSINE,
    pb.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
    pb.METRIC_DOT: Metric.DOT,
    pb.METRIC_SQUARED_COSINE: Metric.SQUARED_COSINE,
}
_METRIC_VALUES = {
    Metric.COSINE: pb.METRIC_COSINE,
    Metric.EUCLIDEAN: pb.METRIC_EUCLIDEAN,
    Metric.DOT: pb.METRIC_DOT,
    Metric.SQUARED_COSINE: pb.METRIC_SQUARED_COSINE,
}
MAX_VERIFY_INPUTS = 2
DEFAULT_COMBINE_SCHEME = "paillier"
MAX_AXES = 8
_STAGES = {
    Stage.KEYGEN: pb.COMBINE_STAGE_KEYGEN,
    Stage.ENCRYPT: pb.COMBINE_STAGE_ENCRYPT,
    Stage.COMPUTE: pb.COMBINE_STAGE_COMPUTE,
    Stage.DECRYPT: pb.COMBINE_STAGE_DECRYPT,
}
_OUTCOMES = {1: pb.OUTCOME_STORED, 2: pb.OUTCOME_DUPLICATE, 3: pb.OUTCOME_REJECTED}


def metric(value: int) -> Metric:
    """The metric of an enum value; unspecified means cosine.

    Raises:
        InvalidArgument: for a value of a newer client.
    """
    if value not in METRICS:
        raise InvalidArgument(f"metric {value}, want one of {sorted(METRICS)}")
    return METRICS[value]


def collection(opened: OpenCollection) -> pb.Collection:
    """A collection, for people."""
    record, config, slots = opened.record, opened.config, opened.slots
    return pb.Collection(
        name=config.name,
        scheme=opened.parameters.scheme.name.lower(),
        parameter_set=opened.parameters.name,
        security=opened.parameters.security,
        embedder=config.embedder,
        dimension=config.dimension,
        metric=_METRIC_VALUES[config.metric],
        expected_size=config.expected_size,
        max_norm=config.max_norm,
        stride=record.stride,
        items=record.items,
        tail_items=slots.live_items(Region.TAIL),
        deleted_items=slots.deleted_items(),
        size_bytes=record.size_bytes,
        score_error_bound=opened.score_error_bound,
        created_unix_seconds=record.created_unix_seconds,
        precision=opened.precision,
        plane_items=record.plane_items,
        plane_bytes=record.plane_bytes,
        channels=config.channels,
        query_visible_to_server=opened.parameters.query_visible,
    )


async def photos(requests: AsyncIterator[pb.IngestRequest]) -> AsyncIterator[Photo]:
    """Photos of an ingest stream, each as soon as it is whole."""
    index = -1
    pending: tuple[pb.FileHeader, Receiver] | None = None
    async for request in requests:
        part = request.WhichOneof("part")
        if part == "file" and pending is None:
            index += 1
            try:
                pending = request.file, _receiver(request.file)
            except BlindsightError as error:
                # The rest of the stream is fine; a client does not send the chunks of what is too large.
                yield Photo(index, request.file.name, b"", request.file.id, error)
                continue
        elif part == "chunk" and pending is not None:
            pending[1].add(request.chunk)
        else:
            raise InvalidArgument(f"ingest stream: {part or 'an empty message'} came, want a file's bytes")
        header, receiver = pending
        if receiver.complete:
            yield Photo(index, header.name, receiver.finish(), header.id)
            pending = None
    if pending is not None:
        pending[1].finish()  # says what is missing


def _receiver(header: pb.FileHeader) -> Receiver:
    return Receiver(header.size_bytes, header.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a photo")


def vectors(block: pb.VectorBlock) -> Vectors:
    """Rows of a block.

    Raises:
        InvalidVector: when the bytes do not make a matrix of that dimension, or ids do not match.
    """
    values = _matrix(block)
    if block.ids and len(block.ids) != len(values):
        raise InvalidVector(f"{len(block.ids)} ids for {len(values)} vectors, want as many")
    return Vectors(values, list(block.ids))


def _matrix(block: pb.VectorBlock) -> Floats:
    if block.dimension < 1 or not block.values or len(block.values) % (4 * block.dimension):
        raise InvalidVector(
            f"{len(block.values)} bytes of vectors, want rows of {block.dimension} float32 values"
        )
    return np.frombuffer(block.values, "<f4").reshape(-1, block.dimension).astype(np.float64)


async def vector_blocks(requests: AsyncIterator[pb.IngestRequest]) -> AsyncIterator[Vectors]:
    """Blocks of an ingest stream, which may be joined: of one dimension, with ids all or none.

    Raises:
        InvalidArgument, InvalidVector: for anything else.
    """
    first: Vectors | None = None
    async for request in requests:
        if request.WhichOneof("part") != "vectors":
            raise InvalidArgument("ingest stream: want nothing but vectors after vectors")
        block = vectors(request.vectors)
        first = first or block
        if block.values.shape[1] != first.values.shape[1]:
            raise InvalidVector("ingest stream: vectors of several dimensions, want one")
        if bool(block.ids) != bool(first.ids):
            raise InvalidVector("ingest stream: vectors with ids and without, want all or none")
        yield block


async def query_image(header: pb.FileHeader, requests: AsyncIterator[pb.SearchRequest]) -> bytes:
    """The photo of a search stream.

    Raises:
        InvalidArgument: when it does not come whole.
    """
    receiver = _receiver(header)
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("search stream: want the photo's bytes after its header")
        receiver.add(request.chunk)
    return receiver.finish()


async def query_vectors(first: pb.VectorBlock, requests: AsyncIterator[pb.SearchRequest]) -> Floats:
    """The vectors of a search stream: [queries, dimension]."""
    parts = [_matrix(first)]
    count = len(parts[0])
    async for request in requests:
        if request.WhichOneof("part") != "vectors":
            raise InvalidArgument("search stream: want nothing but vectors after vectors")
        parts.append(_matrix(request.vectors))
        count += len(parts[-1])
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise InvalidVector("search stream: vectors of several dimensions, want one")
        if count > MAX_QUERIES:  # before more of them are kept
            raise InvalidArgument(f"{count} queries or more, want at most {MAX_QUERIES}")
    return np.concatenate(parts)


def verify_item(header: pb.VerifyHeader) -> tuple[str, str] | None:
    """Collection and id of a verification against an item; None for that of a pair.

    Raises:
        InvalidArgument: when one of the two is missing, or what the collection decides is given as well.
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


def verify_threshold(header: pb.VerifyHeader) -> float | None:
    """The threshold, if there is one."""
    return header.threshold if header.HasField("threshold") else None


def verify_settings(header: pb.VerifyHeader) -> Settings:
    """How a pair is to be compared."""
    return Settings(
        header.scheme or "ckks",
        header.parameter_set,
        metric(header.metric),
        header.embedder,
        verify_threshold(header),
    )


async def verify_inputs(requests: AsyncIterator[pb.VerifyRequest]) -> list[Input]:
    """Photos and vectors of a verification, at most two.

    Raises:
        InvalidArgument: when something does not come whole, or more comes.
        InvalidVector: when the bytes are not one vector.
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
        inputs.append(
            await _verify_photo(request.image, requests) if part == "image" else _one_vector(request.vectors)
        )
    return inputs


async def _verify_photo(header: pb.FileHeader, requests: AsyncIterator[pb.VerifyRequest]) -> bytes:
    receiver = _receiver(header)
    while not receiver.complete:
        request = await anext(requests, None)
        if request is None:
            break
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("verify stream: want the photo's bytes after its header")
        receiver.add(request.chunk)
    return receiver.finish()


def _one_vector(block: pb.VectorBlock) -> Floats:
    matrix = _matrix(block)
    if len(matrix) != 1:
        raise InvalidVector(f"{len(matrix)} vectors in one input, want 1")
    row: Floats = matrix[0]
    return row


def verification(made: Verification) -> pb.VerifyResponse:
    """The decision, and where the time went."""
    return pb.VerifyResponse(
        verified=made.verified,
        distance=made.distance,
        threshold=made.threshold.value,
        threshold_source=made.threshold.source,
        metric=_METRIC_VALUES[made.metric],
        scheme=made.parameters.scheme.name.lower(),
        parameter_set=made.parameters.name,
        timings=pb.VerifyTimings(
            embed_seconds=made.timings.embed,
            encrypt_seconds=made.timings.encrypt,
            compare_seconds=made.timings.score,
            decrypt_seconds=made.timings.decrypt,
            total_seconds=made.timings.total,
        ),
    )


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
        receiver = _receiver(request.image) if part == "image" else _array_receiver(request.array)
        data = await _whole(receiver, requests)
        inputs.append(data if part == "image" else _array(request.array, data))
    return inputs


def _array_receiver(header: pb.ArrayHeader) -> Receiver:
    if not 1 <= len(header.shape) <= MAX_AXES or not all(header.shape):
        raise InvalidArgument(f"array of {len(header.shape)} axes, want 1 to {MAX_AXES} and none of length 0")
    size = 8 * math.prod(header.shape)
    return Receiver(size, header.sha256, limit_bytes=8 * MAX_VALUES, what="an array")


def _array(header: pb.ArrayHeader, data: bytes) -> Integers:
    return np.frombuffer(data, "<i8").astype(np.int64).reshape(tuple(header.shape))


async def _whole(receiver: Receiver, requests: AsyncIterator[pb.CombineRequest]) -> bytes:
    while not receiver.complete:
        request = await anext(requests, None)
        if request is None:
            break
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("combine stream: want an input's bytes after its header")
        receiver.add(request.chunk)
    return receiver.finish()


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


def item_result(result: ItemResult) -> pb.IngestResponse:
    """What became of a photo."""
    return pb.IngestResponse(
        item=pb.ItemResult(
            index=result.index,
            outcome=_OUTCOMES[result.outcome],
            id=result.id,
            reason=result.reason,
            message=result.message,
            remark=result.remark,
        )
    )


def progress(totals: Progress) -> pb.IngestProgress:
    """Running totals."""
    return pb.IngestProgress(stored=totals.stored, duplicates=totals.duplicates, rejected=totals.rejected)


def _hit(hit: Hit) -> pb.Hit:
    return pb.Hit(id=hit.id, score=hit.score, name=hit.name, channels=hit.channels)


def hits(found: list[Hit]) -> pb.SearchResponse:
    """The matches of one query."""
    return pb.SearchResponse(hits=pb.Hits(hits=[_hit(hit) for hit in found]))


def timings(spent: Timings, *, query_visible_to_server: bool) -> pb.SearchResponse:
    """Where the time went, and whether the server saw the query."""
    return pb.SearchResponse(
        query_visible_to_server=query_visible_to_server,
        timings=pb.SearchTimings(
            embed_seconds=spent.embed,
            encrypt_seconds=spent.encrypt,
            score_seconds=spent.score,
            decrypt_seconds=spent.decrypt,
            rank_seconds=spent.rank,
            total_seconds=spent.total,
            kernel_seconds=spent.kernel,
            refresh_seconds=spent.refresh,
            decrypt_busy_seconds=spent.decrypt_busy,
            scanned_bytes=spent.scanned_bytes,
        ),
    )


def planes_header(metadata: ItemMetadata, shape: tuple[int, ...], sha256: bytes) -> pb.GetPlanesResponse:
    """Announces pixels of shape [height, width] or [height, width, 3]."""
    return pb.GetPlanesResponse(
        header=pb.PlanesHeader(
            id=metadata.id,
            name=metadata.name,
            width=shape[1],
            height=shape[0],
            channels=1 if len(shape) == 2 else shape[2],
            sha256=sha256,
        )
    )


def repack_progress(state: RepackProgress) -> pb.RepackResponse:
    """How far a repack is."""
    return pb.RepackResponse(
        items_done=state.items_done,
        items_total=state.items_total,
        segments_retired=state.segments_retired,
        segments_written=state.segments_written,
    )


def service_status(report: ServiceReport) -> pb.ServiceStatus:
    """One service's state."""
    status = report.status
    if status is None:
        return pb.ServiceStatus(name=report.name, zone=report.zone, reachable=False, error=report.error)
    return pb.ServiceStatus(
        name=report.name,
        zone=report.zone,
        reachable=True,
        version=status.version,
        collections=status.collections,
        items=status.items,
        disk_bytes=status.disk_bytes,
        memory_bytes=status.memory_bytes,
    )
