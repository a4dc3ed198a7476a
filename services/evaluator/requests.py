"""Streams of requests: the header that one begins with, and what follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from blindsight.errors import InvalidArgument
from blindsight.wire.planes import PlaneTiles
from blindsight.wire.records import Record
from services.evaluator.operations.search import COLLECTION_ID_BYTES

Header = TypeVar("Header", bound=Record[Any])


async def header(requests: AsyncIterator[Any], kind: type[Header]) -> Header:
    """The header that a stream begins with.

    Raises:
        InvalidArgument: if the stream begins otherwise, or the header cannot be.
    """
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("the stream does not begin with a header")
    return kind.from_message(first.header)


async def chunks(requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The chunks that follow.

    Raises:
        InvalidArgument: for anything else.
    """
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("the stream holds something other than chunks after its header")
        yield request.chunk


async def tiles(requests: AsyncIterator[Any], kind: str) -> AsyncIterator[PlaneTiles]:
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
        yield PlaneTiles.from_message(getattr(request, kind))


def collection_id(given: bytes) -> bytes:
    """Checks an id.

    Raises:
        InvalidArgument: if it is not 16 bytes.
    """
    if len(given) != COLLECTION_ID_BYTES:
        raise InvalidArgument(f"collection id of {len(given)} bytes, want {COLLECTION_ID_BYTES}")
    return given
