"""Streams that are read until somebody says stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from blindsight.errors import InvalidArgument
from blindsight.runtime.transfer import until


async def parts(*given: int, then: Exception | asyncio.Event | None = None) -> AsyncIterator[int]:
    for one in given:
        yield one
    if isinstance(then, Exception):
        raise then
    if then is not None:
        await then.wait()


async def test_a_source_is_read_to_its_end() -> None:
    assert [part async for part in until(asyncio.Event(), parts(1, 2))] == [1, 2]


async def test_a_source_that_says_nothing_more_is_left_when_the_event_is_set() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stopping.set)
    assert [part async for part in until(stopping, parts(1, 2, then=asyncio.Event()))] == [1, 2]


async def test_nothing_is_read_after_the_event_was_set() -> None:
    stopping = asyncio.Event()
    stopping.set()
    assert [part async for part in until(stopping, parts(1, 2))] == []


@pytest.mark.parametrize("way", ["error", "left", "cancelled"])
async def test_however_it_ends_no_task_is_left_behind(way: str) -> None:
    before = asyncio.all_tasks()
    then = InvalidArgument("no part") if way == "error" else asyncio.Event()

    async def read() -> None:
        async with aclosing(until(asyncio.Event(), parts(1, then=then))) as coming:
            assert await anext(coming) == 1
            if way != "left":
                await anext(coming)

    reading = asyncio.create_task(read())
    if way == "cancelled":
        await asyncio.sleep(0.01)
        reading.cancel()
    (ended,) = await asyncio.gather(reading, return_exceptions=True)
    wanted = {"error": InvalidArgument, "left": type(None), "cancelled": asyncio.CancelledError}
    assert type(ended) is wanted[way]
    assert asyncio.all_tasks() == before
