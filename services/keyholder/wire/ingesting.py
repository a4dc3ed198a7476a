"""Photos and vectors that come in, and what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from blindsight.errors import BlindsightError, InvalidArgument, InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import announced
from blindsight.trusted.ingest.photos import Photo
from services.keyholder.operations.ingest import ItemResult, Progress, Vectors
from services.keyholder.wire.inputs import matrix, receiver_of

_OUTCOMES = {1: pb.OUTCOME_STORED, 2: pb.OUTCOME_DUPLICATE, 3: pb.OUTCOME_REJECTED}


async def photos(requests: AsyncIterator[pb.IngestRequest]) -> AsyncIterator[Photo]:
    """Photos of an ingest stream, each as soon as it is whole."""
    index = -1
    async for request in requests:
        part = request.WhichOneof("part")
        if part != "file":
            raise InvalidArgument(f"ingest stream: {part or 'an empty message'} came, want a file")
        index += 1
        file = request.file
        try:
            receiver = receiver_of(file)
        except BlindsightError as error:
            # The rest of the stream is fine; a client does not send the chunks of what is too large.
            yield Photo(index, file.name, b"", file.id, error)
        else:
            yield Photo(index, file.name, await announced(requests, receiver), file.id)


def vectors(block: pb.VectorBlock) -> Vectors:
    """Rows of a block.

    Raises:
        InvalidVector: when the bytes do not make a matrix of that dimension, or ids do not match.
    """
    values = matrix(block)
    if block.ids and len(block.ids) != len(values):
        raise InvalidVector(f"{len(block.ids)} ids for {len(values)} vectors, want as many")
    return Vectors(values, list(block.ids))


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
