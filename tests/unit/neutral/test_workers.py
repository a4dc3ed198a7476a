"""Many tasks in a pool of workers: in order, few at a time, and given up when nobody waits."""

import contextlib
import math
import threading
from contextlib import aclosing

import psutil
import pytest

from blindsight.errors import Unavailable
from blindsight.workers import WorkerPool


@pytest.fixture
def pool():
    made = WorkerPool(2)
    yield made
    made.close()


def counting(taken, count):
    """Arguments of so many tasks; `taken` is told which were asked for."""
    for number in range(count):
        taken.append(number)
        yield (number,)


async def test_results_come_in_the_order_of_the_tasks_and_all_of_them(pool):
    taken = []
    found = [one async for one in pool.map(math.factorial, counting(taken, 50))]
    assert found == [math.factorial(number) for number in range(50)]
    assert taken == list(range(50))
    assert [one async for one in pool.map(math.factorial, counting([], 0))] == []


async def test_no_more_tasks_are_handed_over_than_workers_can_take_and_one(pool):
    taken = []
    async with aclosing(pool.map(math.factorial, counting(taken, 50))) as results:
        async for _ in results:
            break
    assert len(taken) <= pool.processes + 1


@pytest.mark.parametrize("bad", [0, 3, 49])
async def test_what_a_task_raises_ends_the_work(pool, bad):
    arguments = ((-1 if number == bad else number,) for number in range(50))
    results = pool.map(math.factorial, arguments)
    assert [await anext(results) for _ in range(bad)] == [math.factorial(number) for number in range(bad)]
    with pytest.raises(ValueError, match="negative"):
        await anext(results)
    assert await pool.run(abs, -1) == 1


async def test_what_makes_tasks_may_end_the_work(pool):
    def tired():
        yield (1,)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        _ = [one async for one in pool.map(math.factorial, tired())]
    assert await pool.run(abs, -1) == 1


async def test_a_worker_that_is_killed_while_it_starts_keeps_nobody_waiting():
    pool = WorkerPool(1, len, (bytes(1 << 20),))
    ended = threading.Event()

    def kill():
        while not ended.wait(0.001):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="died twice"):
                await pool.run(abs, -1)
    finally:
        ended.set()
        killer.join()
    assert await pool.run(abs, -1) == 1
    pool.close()
