"""Conversion of the messages of ingest."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from blindsight.errors import BlindsightError, InvalidArgument, InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.status import REASONS
from blindsight.runtime.transfer import announced
from blindsight.trusted.ingest.photos import Photo
from blindsight.wire.ingest import OUTCOME, ItemResult
from blindsight.wire.items import FileHeader, VectorBlock
from blindsight.wire.metadata import Metadata
from blindsight.wire.vectors import PhotoVector
from services.keyholder.operations.ingest import Vectors


async def photos(requests: AsyncIterator[pb.IngestRequest], *, exif: bool) -> AsyncIterator[Photo]:
    """Yields the photos of an ingest stream, each as soon as it is complete."""
    index = -1
    passed_over = False
    async for request in requests:
        part = request.WhichOneof("part")
        if part == "chunk" and passed_over:
            continue
        if part != "file":
            raise InvalidArgument(f"ingest stream: {part or 'an empty message'} came, want a file")
        index += 1
        try:
            file = FileHeader.from_message(request.file)
            receiver = file.receiver()
        except BlindsightError as error:
            # The stream goes on with the next file, whether chunks of this one come or not.
            yield Photo(index, request.file.name, b"", request.file.id, error)
            passed_over = True
        else:
            values = file.metadata.values if file.metadata is not None else {}
            data = await announced(requests, receiver)
            yield Photo(index, file.name, data, file.id, values=values, vectors=file.vectors, exif=exif)
            passed_over = not data


async def whole_photo(request: pb.IngestImageRequest) -> AsyncIterator[Photo]:
    """Yields the photo of a request that is one message."""
    values = Metadata.from_message(request.metadata).values
    vectors = tuple(map(PhotoVector.from_message, request.vectors))
    exif = request.settings.exif
    yield Photo(0, request.name, request.image, request.id, values=values, vectors=vectors, exif=exif)


def outcome(result: ItemResult) -> pb.IngestImageResponse:
    """Converts what became of the photo of a request that is one message.

    Raises:
        BlindsightError: if it was rejected, with that reason.
    """
    if result.outcome == "rejected":
        raise REASONS[result.reason](result.message)
    answered = OUTCOME.to_message(result.outcome)
    return pb.IngestImageResponse(id=result.id, outcome=pb.Outcome.ValueType(answered), remark=result.remark)


def vectors(block: pb.VectorBlock) -> Vectors:
    """Converts a block of vectors.

    Raises:
        InvalidVector: if the bytes are not a matrix of the stated dimension, or the ids do not match.
    """
    came = VectorBlock.from_message(block)
    if came.ids and len(came.ids) != len(came.values):
        raise InvalidVector(f"{len(came.ids)} ids for {len(came.values)} vectors, want as many")
    if came.metadata and len(came.metadata) != len(came.values):
        raise InvalidVector(f"metadata of {len(came.metadata)} for {len(came.values)} vectors, want as many")
    return Vectors(came.values.astype(np.float64), list(came.ids), [one.values for one in came.metadata])


async def vector_blocks(requests: AsyncIterator[pb.IngestRequest]) -> AsyncIterator[Vectors]:
    """Yields the blocks of an ingest stream; all have the same dimension, and all or none have ids.

    Raises:
        InvalidArgument: if the stream has anything but vectors.
        InvalidVector: if a block is malformed or does not fit the first.
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
        if bool(block.metadata) != bool(first.metadata):
            raise InvalidVector("ingest stream: vectors with metadata and without, want all or none")
        yield block
