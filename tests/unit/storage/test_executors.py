from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import aclosing

import pytest

from blindsight.errors import Unavailable
from services.storage.executors import Threads


class Source:
    """A snapshot that knows whether it was closed."""

    def __init__(self, count: int = 10) -> None:
        self.closed = threading.Event()
        self._count = count

    def parts(self) -> Generator[int, None, None]:
        try:
            yield from range(self._count)
        finally:
            self.closed.set()


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(read_streams=2, stall_seconds=30)
    yield made
    made.close()


async def closed(source: Source) -> bool:
    return await asyncio.to_thread(source.closed.wait, 10)


async def test_a_stream_gives_all_parts_in_order_and_closes_its_snapshot(threads: Threads) -> None:
    source = Source()
    assert [part async for part in threads.stream(source.parts())] == list(range(10))
    assert await closed(source)


async def test_a_stream_that_is_given_up_closes_its_snapshot(threads: Threads) -> None:
    source = Source()
    async with aclosing(threads.stream(source.parts())) as parts:
        assert await anext(parts) == 0
    assert await closed(source)


async def test_a_cancelled_reader_closes_its_snapshot_and_frees_its_turn(threads: Threads) -> None:
    async def read_one_and_wait(source: Source) -> None:
        async with aclosing(threads.stream(source.parts())) as parts:
            await anext(parts)
            started.release()
            await asyncio.Event().wait()

    started = asyncio.Semaphore(0)
    sources = [Source() for _ in range(2)]
    tasks = [asyncio.create_task(read_one_and_wait(source)) for source in sources]
    for _ in tasks:
        await started.acquire()
    third = asyncio.create_task(read_one_and_wait(Source()))
    await asyncio.sleep(0.05)
    assert started.locked()  # both turns are taken
    for task in tasks:
        task.cancel()
    await started.acquire()
    assert all([await closed(source) for source in sources])
    third.cancel()
    await asyncio.gather(*tasks, third, return_exceptions=True)


async def test_a_reader_that_stands_still_loses_its_snapshot() -> None:
    threads = Threads(read_streams=2, stall_seconds=0.05)
    source = Source()
    parts = threads.stream(source.parts())
    assert await anext(parts) == 0
    assert await closed(source)
    with pytest.raises(Unavailable, match="read it again"):
        await anext(parts)
    threads.close()


async def test_an_error_of_the_store_reaches_the_reader(threads: Threads) -> None:
    def parts() -> Generator[int, None, None]:
        yield 1
        raise Unavailable("gone")

    stream = threads.stream(parts())
    assert await anext(stream) == 1
    with pytest.raises(Unavailable, match="gone"):
        await anext(stream)


async def test_writes_run_one_at_a_time_in_order(threads: Threads) -> None:
    running = threading.Semaphore(1)
    order: list[int] = []

    def write(number: int) -> int:
        assert running.acquire(blocking=False)
        order.append(number)
        running.release()
        return number

    answers = await asyncio.gather(*(threads.write(write, number) for number in range(50)))
    assert answers == order == list(range(50))
