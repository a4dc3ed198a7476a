"""Memory that calls share: turns, refusals, and what cancelled calls give back."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from blindsight.errors import ResourceExhausted
from blindsight.runtime import callers
from blindsight.runtime.memory_budget import MemoryBudget


async def test_a_call_waits_for_memory_in_turn() -> None:
    budget = MemoryBudget(10, "calls")
    order: list[str] = []

    async def hold(name: str, size: int, until: asyncio.Event) -> None:
        async with budget.reserve(size):
            order.append(name)
            await until.wait()

    first_done, rest_done = asyncio.Event(), asyncio.Event()
    rest_done.set()
    tasks = [asyncio.create_task(hold("first", 6, first_done))]
    tasks.append(asyncio.create_task(hold("large", 10, rest_done)))
    tasks.append(asyncio.create_task(hold("small", 1, rest_done)))
    await asyncio.sleep(0.01)
    assert order == ["first"]  # the small one would fit, but it does not overtake
    first_done.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "large", "small"]


async def test_a_tenant_whose_calls_wait_in_a_long_line_keeps_no_other_waiting() -> None:
    budget, served = MemoryBudget(10, "calls", most_waiting=5), []

    async def call(tenant: str) -> None:
        callers.tenant.set(tenant)
        async with budget.reserve(10):
            served.append(tenant)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as calls:
        for tenant in (*6 * ["greedy"], "modest"):
            calls.create_task(call(tenant))
    assert served.index("modest") <= 2
    assert len(served) == 7
    assert not budget.held_bytes


async def test_memory_comes_back_from_calls_that_fail_or_are_cancelled() -> None:
    budget = MemoryBudget(10, "calls")
    with pytest.raises(ValueError, match="failed"):
        async with budget.reserve(10):
            raise ValueError("failed")
    async with budget.reserve(10):
        waiting = asyncio.create_task(budget.reserve(1).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), budget.reserve(10):
        pass


async def test_more_than_there_ever_is_is_refused_at_once() -> None:
    budget = MemoryBudget(10, "calls")
    with pytest.raises(ResourceExhausted, match="calls: about 11 bytes of memory, want at most 10"):
        async with budget.reserve(11):
            pass
    assert (budget.held_bytes, budget.waiting) == (0, 0)


async def test_who_finds_the_line_full_is_refused_and_a_cancelled_call_leaves_it() -> None:
    budget = MemoryBudget(10, "calls", most_waiting=2)
    async with AsyncExitStack() as held:
        await held.enter_async_context(budget.reserve(6))
        assert budget.has_room(4)
        turns = [budget.reserve(size) for size in (10, 1)]
        waiting = [asyncio.create_task(turn.__aenter__()) for turn in turns]
        await asyncio.sleep(0)
        assert (budget.held_bytes, budget.waiting) == (6, 2)
        assert not budget.has_room(1)  # it would overtake
        with pytest.raises(ResourceExhausted, match="2 wait for memory already, want at most 2: retry later"):
            await budget.reserve(1).__aenter__()
        waiting[0].cancel()  # the first in the line: the one behind it has room
        await asyncio.wait_for(waiting[1], 5)
        assert (budget.held_bytes, budget.waiting) == (7, 0)
        await asyncio.gather(waiting[0], return_exceptions=True)


def test_who_does_not_wait_is_refused_what_is_not_left_and_gives_back_what_it_had() -> None:
    budget = MemoryBudget(10, "searches")
    with budget.take(4):
        with budget.take(6), pytest.raises(ResourceExhausted, match="too many searches at once; retry later"):
            budget.take(1).__enter__()
        assert budget.held_bytes == 4
    assert budget.held_bytes == 0
