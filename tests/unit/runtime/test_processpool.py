"""Many tasks in a pool of workers, which may die: in order, few at a time, and given up when nobody waits."""

import asyncio
import contextlib
import gc
import math
import os
import signal
import threading
import time
import weakref
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from support.processes import pool_workers
from support.worker_tasks import COMPUTE, Call, count_and_wait, fail_unpicklably, kill_once

from blindsight.errors import Unavailable
from blindsight.runtime import callers
from blindsight.runtime.processpool import WorkerError, WorkerPool


@pytest.fixture
def pool():
    made = WorkerPool(2, COMPUTE)
    yield made
    made.close()


def workers():
    """The processes of all pools of this process; services that other tests started here have theirs."""
    forked = pool_workers(psutil.Process())
    return [one for one in forked if "spawn_main" in " ".join(one.cmdline())]


def counting(taken, count):
    """Roots of so many squares; `taken` is told which were asked for."""
    for number in range(count):
        taken.append(number)
        yield Call.of(math.isqrt, number * number)


async def test_results_come_in_the_order_of_the_tasks_and_all_of_them(pool):
    taken = []
    found = [one async for one, _ in pool.map(counting(taken, 50))]
    assert found == list(range(50))
    assert taken == list(range(50))
    assert [one async for one in pool.map(counting([], 0))] == []


async def test_no_more_tasks_are_handed_over_than_workers_can_take_and_one(pool):
    taken = []
    async with aclosing(pool.map(counting(taken, 50))) as results:
        async for _ in results:
            break
    assert len(taken) <= pool.processes + 1


@pytest.mark.parametrize("bad", [0, 3, 49])
async def test_what_a_task_raises_ends_the_work(pool, bad):
    results = pool.map(Call.of(math.isqrt, -1 if number == bad else number * number) for number in range(50))
    assert [(await anext(results))[0] for _ in range(bad)] == list(range(bad))
    with pytest.raises(WorkerError, match="a ValueError in a worker process"):
        await anext(results)
    assert await pool.run(Call.of(abs, -1)) == 1


class Large:
    """An argument that can be watched; it pickles as a number that has no root."""

    def __reduce__(self):
        return int, ("-1",)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_task_that_failed_is_freed_with_its_error(pool, times):
    watched = []

    async def fail():
        argument = Large()
        watched.append(weakref.ref(argument))
        task = Call.of(math.isqrt, argument)
        del argument
        with pytest.raises(WorkerError, match="ValueError"):
            await pool.run(task)

    gc.collect()
    gc.disable()  # as good as off for the memory of a service: it rarely looks at what has lived for long
    try:
        for _ in range(times):
            await fail()
        await asyncio.sleep(0.1)  # for the thread that waited for the worker
        assert [one() for one in watched] == [None] * times
    finally:
        gc.enable()


async def test_what_makes_tasks_may_end_the_work(pool):
    def tired():
        yield Call.of(math.isqrt, 1)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        _ = [one async for one in pool.map(tired())]
    assert await pool.run(Call.of(abs, -1)) == 1


async def test_a_result_that_cannot_be_sent_is_an_error_and_nothing_else(pool):
    with pytest.raises(WorkerError, match="a Unpicklable in a worker process"):
        await pool.run(Call.of(fail_unpicklably))
    with pytest.raises(WorkerError, match="a TypeError in a worker process") as caught:
        await pool.run(Call.of(threading.Lock))
    assert "a lock cannot be sent from a worker" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="cannot pickle"):
        await pool.run(Call.of(id, threading.Lock()))
    assert await pool.run(Call.of(abs, -1)) == 1


async def test_tasks_may_come_one_by_one_as_from_a_stream(pool):
    async def stream():
        for task in counting([], 9):
            await asyncio.sleep(0)
            yield task

    assert [one async for one, _ in pool.map(stream())] == list(range(9))


async def test_the_seconds_of_a_task_are_those_that_its_worker_computed(pool):
    started = time.perf_counter()
    (_, long), (_, short) = await asyncio.gather(
        pool.timed(Call.of(time.sleep, 0.2)), pool.timed(Call.of(abs, -1))
    )
    assert 0.2 <= long <= time.perf_counter() - started
    assert 0 <= short < long  # neither the start of a process nor what its function imports


async def test_what_a_task_raises_says_where_it_was_raised(pool):
    with pytest.raises(WorkerError) as caught:
        await pool.run(Call.of(math.isqrt, -1))
    assert "isqrt() argument must be nonnegative" in caught.value.__notes__[0]


async def test_a_task_whose_worker_dies_is_run_once_more_and_no_other_is(tmp_path):
    restarts = []
    pool = WorkerPool(2, COMPUTE, on_restart=lambda: restarts.append(1))
    other = asyncio.create_task(pool.run(Call.of(count_and_wait, tmp_path / "runs", 0.5)))
    assert await pool.run(Call.of(kill_once, tmp_path / "killed")) != os.getpid()
    assert await other == 1
    assert restarts == [1]
    with pytest.raises(Unavailable, match="died twice"):
        await pool.run(Call.of(os._exit, 1))
    assert restarts == [1, 1, 1]
    assert pool.restarts == 3
    assert await pool.run(Call.of(abs, -1)) == 1
    pool.close()


async def test_the_death_of_an_idle_worker_is_noticed_without_a_task():
    noticed = asyncio.Event()
    loop = asyncio.get_running_loop()
    pool = WorkerPool(1, COMPUTE, on_restart=lambda: loop.call_soon_threadsafe(noticed.set))
    os.kill(await pool.run(Call.of(os.getpid)), signal.SIGKILL)
    await asyncio.wait_for(noticed.wait(), 30)
    assert workers() == []
    pool.close()


async def test_a_worker_that_has_nothing_to_do_ends_and_the_next_task_has_another():
    pool = WorkerPool(1, COMPUTE, idle_seconds=0.1)
    try:
        first = await pool.run(Call.of(os.getpid))
        async with asyncio.timeout(30):
            while workers():
                await asyncio.sleep(0.05)
        assert await pool.run(Call.of(os.getpid)) != first
        assert not pool.restarts
    finally:
        await asyncio.to_thread(pool.close)


async def test_the_tasks_of_tenants_are_run_in_turn():
    pool, ran = WorkerPool(1, COMPUTE), []

    async def task(tenant):
        callers.tenant.set(tenant)
        await pool.run(Call.of(os.getpid))
        ran.append(tenant)

    try:
        await asyncio.gather(*map(task, (*20 * ["greedy"], "modest")))
        assert ran.index("modest") <= 3
    finally:
        await asyncio.to_thread(pool.close)


async def test_idle_workers_that_died_are_not_missed(pool):
    for _ in range(3):
        await pool.warm(Call.of(time.sleep, 0.05))
        for worker in workers():
            worker.kill()
            worker.wait()
        assert await asyncio.gather(*(pool.run(Call.of(abs, -1)) for _ in range(8))) == [1] * 8


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.04])
async def test_a_worker_that_is_killed_in_the_middle_of_a_result_keeps_nobody_waiting(pool, delay):
    for _ in range(3):
        victim = await pool.run(Call.of(os.getpid))
        results = asyncio.gather(*(pool.run(Call.of(bytes, 32 << 20)) for _ in range(2)))
        await asyncio.sleep(delay)
        os.kill(victim, signal.SIGKILL)
        assert [len(result) for result in await asyncio.wait_for(results, 60)] == [32 << 20] * 2


async def test_closing_waits_for_what_runs_cancels_what_waits_and_takes_nothing_more(tmp_path):
    pool = WorkerPool(1, COMPUTE)
    running = asyncio.create_task(pool.run(Call.of(count_and_wait, tmp_path / "running", 0.5)))
    async with asyncio.timeout(60):
        while not (tmp_path / "running").exists():
            await asyncio.sleep(0.01)
    waiting = asyncio.create_task(pool.run(Call.of(count_and_wait, tmp_path / "waiting", 0)))
    await asyncio.sleep(0)
    await asyncio.to_thread(pool.close)
    assert await running == 1
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not (tmp_path / "waiting").exists()
    with pytest.raises(Unavailable, match="have been stopped"):
        await pool.run(Call.of(abs, -1))
    assert workers() == []


def fork_servers():
    """The processes that fork workers."""
    return list({worker.parent() for worker in workers()})


async def test_a_fork_server_that_is_killed_takes_its_workers_along_and_the_next_task_has_others(pool):
    before = await pool.run(Call.of(os.getpid))
    (server,) = fork_servers()
    server.kill()
    assert await asyncio.gather(*(pool.run(Call.of(abs, -1)) for _ in range(8))) == [1] * 8
    assert before not in {worker.pid for worker in workers()}
    assert fork_servers() != [server]


async def test_a_fork_server_keeps_nothing_of_what_its_workers_are_told_first():
    pool = WorkerPool(2, COMPUTE, Call.of(len, b"a secret key"))
    await pool.warm()
    (server,) = fork_servers()
    held = [str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert not any("order" in one for one in held), held
    pool.close()


async def test_a_worker_that_is_killed_while_it_starts_keeps_nobody_waiting():
    pool = WorkerPool(1, COMPUTE, Call.of(len, bytes(1 << 20)))
    ended = threading.Event()

    def kill():
        while not ended.wait(0.001):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):  # of a fork server, which workers share
                        child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="died twice"):
                await pool.run(Call.of(abs, -1))
    finally:
        ended.set()
        killer.join()
    assert await pool.run(Call.of(abs, -1)) == 1
    pool.close()


async def test_workers_that_cannot_start_say_why():
    made = WorkerPool(1, {Call: "a_module_that_there_is_not:run"})
    try:
        for _ in range(2):
            with pytest.raises(
                Unavailable, match=r"^no worker process starts: ModuleNotFoundError: .*there_is_not"
            ):
                await made.run(Call.of(math.isqrt, 4))
    finally:
        made.close()
