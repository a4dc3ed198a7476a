"""Conversion of the messages of searches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import numpy as np

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.packing.columns import Floats
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import announced, grouped
from blindsight.wire.items import FileHeader
from blindsight.wire.scores import Progress
from blindsight.wire.search import Hit, SearchProgress, SearchTimings
from services.keyholder.operations.scoring import Timings
from services.keyholder.operations.search import MAX_QUERIES
from services.keyholder.wire.inputs import matrix


async def query_image(header: pb.FileHeader, requests: AsyncIterator[pb.SearchRequest]) -> bytes:
    """Receives the photo of a search stream.

    Raises:
        InvalidArgument: if the photo is incomplete, or more follows.
    """
    photo = await announced(requests, FileHeader.from_message(header).receiver())
    if await anext(requests, None) is not None:
        raise InvalidArgument("search stream: more came than the photo, want its end")
    return photo


async def query_vectors(first: pb.VectorBlock, requests: AsyncIterator[pb.SearchRequest]) -> Floats:
    """Receives the vectors of a search stream, [queries, dimension]."""
    parts = [matrix(first)]
    count = len(parts[0])
    async for request in requests:
        if request.WhichOneof("part") != "vectors":
            raise InvalidArgument("search stream: want nothing but vectors after vectors")
        parts.append(matrix(request.vectors))
        count += len(parts[-1])
        if parts[-1].shape[1] != parts[0].shape[1]:
            raise InvalidVector("search stream: vectors of several dimensions, want one")
        if count > MAX_QUERIES:  # before more of them are kept
            raise InvalidArgument(f"{count} queries or more, want at most {MAX_QUERIES}")
    return np.concatenate(parts)


def hits(found: Sequence[Hit]) -> Iterator[pb.SearchResponse]:
    """Yields the hits of one query, in as many messages as they need."""
    pieces = list(grouped([hit.to_message() for hit in found], pb.Hit.ByteSize)) or [[]]
    for number, piece in enumerate(pieces, 1):
        yield pb.SearchResponse(hits=pb.Hits(hits=piece, more=number < len(pieces)))


def progress(made: Progress) -> SearchProgress:
    """Converts what the evaluator says of a gallery that it makes ready."""
    return SearchProgress(made.batches_done, made.batches_total)


def timings(spent: Timings) -> SearchTimings:
    """Converts the timings of a search."""
    return SearchTimings(
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
        match_seconds=spent.match,
    )
