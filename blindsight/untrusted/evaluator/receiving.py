"""What arrives from callers: so much of it at once, and none of it from who has stopped sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from blindsight.errors import InvalidArgument, ResourceExhausted

Chunk = TypeVar("Chunk")


class Room:
    """Memory for what arrives or waits at the same time, over all callers.

    Args:
        limit_bytes: of all of it.
        what: there are too many of, for people.
    """

    def __init__(self, limit_bytes: int, what: str) -> None:
        self._limit_bytes = limit_bytes
        self._what = what
        self._taken_bytes = 0

    @contextmanager
    def take(self, size_bytes: int) -> Iterator[None]:
        """Room for one caller.

        Raises:
            ResourceExhausted: when there is not so much.
        """
        if self._taken_bytes + size_bytes > self._limit_bytes:
            raise ResourceExhausted(f"too many {self._what} at once; retry later")
        self._taken_bytes += size_bytes
        try:
            yield
        finally:
            self._taken_bytes -= size_bytes


async def next_chunk(chunks: AsyncIterator[Chunk], stall_seconds: float) -> Chunk | None:
    """The next of what a stream is made of, None at the end.

    Raises:
        InvalidArgument: when nothing comes for so long: who announces much and sends nothing must not keep
            others out.
    """
    try:
        async with asyncio.timeout(stall_seconds):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise InvalidArgument(f"no chunk came for {stall_seconds:g} s") from error
