"""Queries, their matches, and where the time went."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.packing.columns import Floats
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import announced
from services.keyholder.operations.scoring import Timings
from services.keyholder.operations.search import MAX_QUERIES, Drawing, Hit
from services.keyholder.wire.inputs import matrix, receiver_of


async def query_image(header: pb.FileHeader, requests: AsyncIterator[pb.SearchRequest]) -> bytes:
    """The photo of a search stream.

    Raises:
        InvalidArgument: when it does not come whole.
    """
    photo = await announced(requests, receiver_of(header))
    if await anext(requests, None) is not None:
        raise InvalidArgument("search stream: more came than the photo, want its end")
    return photo


async def query_vectors(first: pb.VectorBlock, requests: AsyncIterator[pb.SearchRequest]) -> Floats:
    """The vectors of a search stream: [queries, dimension]."""
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


def _hit(hit: Hit) -> pb.Hit:
    message = pb.Hit(id=hit.id, score=hit.score, name=hit.name, channels=hit.channels)
    if (made := hit.agreement) is not None:
        message.keypoints.CopyFrom(
            pb.KeypointAgreement(inliers=made.inliers, matches=made.matches, verified=made.verified)
        )
    return message


def answer(found: list[Hit] | Drawing) -> pb.SearchResponse:
    """The matches of one query, or pictures of one of them."""
    if isinstance(found, Drawing):
        drawing = pb.Drawing(rank=found.rank, photo=found.photo, drawn=found.drawn)
        return pb.SearchResponse(drawing=drawing)
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
            match_seconds=spent.match,
        ),
    )
