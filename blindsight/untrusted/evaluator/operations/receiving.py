"""What arrives from callers: so much of it at once, and none of it from who has stopped sending."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
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


async def collect(
    chunks: AsyncIterator[bytes], size_bytes: int, append: Callable[[bytes], None], stall_seconds: float
) -> bytes:
    """Takes the chunks of a block until it is whole or the stream ends; the SHA-256 of what came.

    Args:
        size_bytes: what was announced.
        append: takes every chunk.

    Raises:
        InvalidArgument: for an empty chunk, more than was announced, or when nothing comes for so long.
    """
    received, digest = 0, hashlib.sha256()
    while received < size_bytes and (chunk := await next_chunk(chunks, stall_seconds)) is not None:
        if not chunk or received + len(chunk) > size_bytes:
            raise InvalidArgument(f"an empty chunk, or more than the announced {size_bytes} bytes of a block")
        append(chunk)
        received += len(chunk)
        await asyncio.to_thread(digest.update, chunk)
    return digest.digest()


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
