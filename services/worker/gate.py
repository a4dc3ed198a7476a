"""Who is opened beside whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Room:
    """Lets several in at a time, or one alone."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._alone = asyncio.Lock()

    def one(self) -> asyncio.Semaphore:
        """A place among others."""
        return self._free

    @asynccontextmanager
    async def all(self) -> AsyncIterator[None]:
        """The whole room."""
        async with AsyncExitStack() as taken:
            await taken.enter_async_context(self._alone)
            for _ in range(self._places):
                await taken.enter_async_context(self._free)
            yield
