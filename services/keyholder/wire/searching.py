"""Conversion of the messages of searches."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message

from blindsight.errors import InvalidArgument, InvalidVector, ResourceExhausted
from blindsight.packing.columns import Floats
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import MAX_MESSAGE_BYTES, announced, grouped
from blindsight.wire.collections import METRIC
from blindsight.wire.items import FileHeader
from blindsight.wire.search import SearchTimings
from services.keyholder.operations.keypoint_search import Recognition
from services.keyholder.operations.scoring import Timings
from services.keyholder.operations.search import MAX_PHOTOS, MAX_QUERIES, Search
from services.keyholder.tokens.reveal import Told
from services.keyholder.wire.inputs import matrix

M = TypeVar("M", bound=Message)
Running = Search | Recognition

# Of one message: what is said of the whole search, and what goes around each part.
_CLOSING_BYTES, _PART_BYTES = 1024, 8


async def query_photos(
    first: pb.FileHeader, requests: AsyncIterator[pb.SearchRequest]
) -> AsyncIterator[bytes]:
    """Yields the photos of a search stream as they come.

    Raises:
        InvalidArgument: if a photo is incomplete, or something else follows it, or there are too many.
    """
    header: pb.FileHeader | None = first
    count = 0
    while header is not None:
        count += 1
        if count > MAX_PHOTOS:
            raise InvalidArgument(f"{count} photos or more, want at most {MAX_PHOTOS} in one search")
        yield await announced(requests, FileHeader.from_message(header).receiver())
        request = await anext(requests, None)
        if request is not None and request.WhichOneof("part") != "image":
            raise InvalidArgument("search stream: want nothing but photos after a photo")
        header = request.image if request is not None else None


async def only(photo: bytes) -> AsyncIterator[bytes]:
    """Yields a photo that came as a whole."""
    yield photo


async def query_items(first: str, requests: AsyncIterator[pb.SearchRequest]) -> list[str]:
    """Receives the ids of a search stream."""
    ids = [first]
    async for request in requests:
        if request.WhichOneof("part") != "item":
            raise InvalidArgument("search stream: want nothing but ids after an id")
        ids.append(request.item)
        if len(ids) > MAX_PHOTOS:
            raise InvalidArgument(f"{len(ids)} ids or more, want at most {MAX_PHOTOS} in one search")
    return ids


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


def hits(told: Told) -> Iterator[pb.SearchResponse]:
    """Yields what is told of one query, in as many messages as it needs."""
    pieces = list(grouped([hit.to_message() for hit in told.hits], pb.Hit.ByteSize)) or [[]]
    for number, piece in enumerate(pieces, 1):
        yield pb.SearchResponse(hits=pb.Hits(hits=piece, more=number < len(pieces), passes=told.passes))


def whole(told: Told) -> pb.Hits:
    """Returns what is told of one query, in one message."""
    return pb.Hits(hits=[hit.to_message() for hit in told.hits], passes=told.passes)


class Room:
    """The room for results in an answer that is one message."""

    def __init__(self) -> None:
        self._left = MAX_MESSAGE_BYTES - _CLOSING_BYTES

    def take(self, part: M) -> M:
        """Returns a part of the answer.

        Raises:
            ResourceExhausted: if there is no more room for it.
        """
        self._left -= part.ByteSize() + _PART_BYTES
        if self._left < 0:
            raise ResourceExhausted(
                f"an answer of over {MAX_MESSAGE_BYTES} bytes, want fewer hits or pictures, or Search, "
                "which streams them"
            )
        return part


def whole_vectors(came: Sequence[pb.Vector]) -> Floats:
    """Returns vectors that come in one message, [queries, dimension].

    Raises:
        InvalidVector: if they have several dimensions.
    """
    dimensions = sorted({len(one.values) for one in came})
    if len(dimensions) > 1:
        raise InvalidVector(f"vectors of {dimensions[0]} and {dimensions[-1]} values, want one dimension")
    return np.array([one.values for one in came], np.float64)


def closed(answer: M, search: Running, started: float) -> M:
    """Returns the last message of an answer, with what is said of the whole search.

    Args:
        started: of `time.perf_counter`, when the search began.
    """
    search.timings.total = time.perf_counter() - started
    answer.MergeFrom(
        type(answer)(
            timings=timings(search.timings).to_message(),
            query_visible_to_server=search.query_visible_to_server,
            quarantined_items=search.quarantined,
            metric=METRIC.to_message(search.metric.value),
        )
    )
    return answer


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
