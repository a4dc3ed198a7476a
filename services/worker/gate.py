"""Photos are prepared beside each other, or one with nothing beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Gate:
    """Lets several in at a time, or one alone.

    Args:
        places: how many at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._alone = asyncio.Lock()

    def shared(self) -> asyncio.Semaphore:
        """Holds one place, beside others."""
        return self._free

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Holds all places, once those who are in have left."""
        async with AsyncExitStack() as taken:
            await taken.enter_async_context(self._alone)
            for _ in range(self._places):
                await taken.enter_async_context(self._free)
            yield
