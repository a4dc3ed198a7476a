"""Concurrent work with a limit, and with results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def in_order(
    works: Iterable[Coroutine[Any, Any, Result]] | AsyncIterable[Coroutine[Any, Any, Result]], at_once: int
) -> AsyncGenerator[Result, None]:
    """Runs at most `at_once` works at a time, and yields results in order; close it to give up the rest."""
    running: deque[asyncio.Task[Result]] = deque()
    try:
        async for work in one_by_one(works):
            running.append(asyncio.create_task(work))
            if len(running) >= at_once:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def one_by_one(works: Iterable[Result] | AsyncIterable[Result]) -> AsyncIterator[Result]:
    """Iterates over either kind of iterable."""
    if isinstance(works, AsyncIterable):
        async for work in works:
            yield work
    else:
        for work in works:
            yield work
