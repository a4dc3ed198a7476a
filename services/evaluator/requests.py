"""Reads streams of requests: the header at the start, and what follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from blindsight.errors import InvalidArgument
from blindsight.wire.planes import PlaneTiles
from blindsight.wire.records import Record
from services.evaluator.operations.search import COLLECTION_ID_BYTES

Header = TypeVar("Header", bound=Record[Any])


async def header(requests: AsyncIterator[Any], kind: type[Header]) -> Header:
    """Returns the header at the start of a stream.

    Raises:
        InvalidArgument: if the stream begins with anything else, or the header is invalid.
    """
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header")
    return kind.from_message(first.header)


async def chunks(requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Yields the chunks that follow the header.

    Raises:
        InvalidArgument: if anything but a chunk follows.
    """
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("the stream holds something other than chunks after its header")
        yield request.chunk


async def tiles(requests: AsyncIterator[Any], kind: str) -> AsyncIterator[PlaneTiles]:
    """Yields the tiles that follow the header; two of these generators may read one stream in turn.

    Args:
        kind: the name of the request's part that holds the tiles.

    Raises:
        InvalidArgument: if any other part follows.
    """
    async for request in requests:
        got = request.WhichOneof("part")
        if got != kind:
            raise InvalidArgument(f"the stream holds {got or 'an empty message'} where {kind} is wanted")
        yield PlaneTiles.from_message(getattr(request, kind))


def collection_id(given: bytes) -> bytes:
    """Checks and returns a collection's id.

    Raises:
        InvalidArgument: if it is not 16 bytes.
    """
    if len(given) != COLLECTION_ID_BYTES:
        raise InvalidArgument(f"collection id of {len(given)} bytes, want {COLLECTION_ID_BYTES}")
    return given
