"""Limits how many photos are prepared at once, and lets one be prepared with no other beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Gate:
    """A lock that several share, or that one holds alone.

    Args:
        places: how many may share it.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._alone = asyncio.Lock()

    def shared(self) -> asyncio.Semaphore:
        """Returns the semaphore that holds one place, beside others."""
        return self._free

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Holds all places while the block runs, after waiting for those who hold some."""
        async with AsyncExitStack() as taken:
            await taken.enter_async_context(self._alone)
            for _ in range(self._places):
                await taken.enter_async_context(self._free)
            yield
