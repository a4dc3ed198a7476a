"""Turns: who is next, and that all of them end."""

import asyncio
import time

import pytest

from blindsight.errors import Busy
from blindsight.runtime import callers
from services.keyholder.operations import turns as turns_module
from services.keyholder.operations.turns import BRIEF_SECONDS, TENANT_SECONDS, Part, Turns


class Clients:
    """Calls that take turns; each turn ends when the test says so."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.given: list[str] = []
        self.tasks: set[asyncio.Task] = set()
        self.running: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    def call(
        self, name: str, parts: int = 1, cost: float = 4, caller: str = "", tenant: str = ""
    ) -> asyncio.Task:
        """Begins a call of some turns."""
        task = asyncio.create_task(self._take(name, parts, cost, caller or name, tenant))
        self.tasks.add(task)
        return task

    async def _take(self, name: str, parts: int, cost: float, caller: str, tenant: str) -> None:
        callers.current.set(caller)
        callers.tenant.set(tenant)
        identity = object()
        for number in range(parts):
            part = Part(first=not number, last=number == parts - 1, call=identity)
            async with self.turns.turn(part, cost):
                self.given.append(name)
                over = asyncio.Event()
                self.running.put_nowait(over)
                await over.wait()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """All callers hang up at once."""
        for task in self.tasks:
            task.cancel()
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended)
        assert not self.turns.crowded(None)

    async def end_turns(self, count: int) -> None:
        for _ in range(count):
            (await asyncio.wait_for(self.running.get(), 5)).set()
            await self.settle()


async def test_a_short_call_has_the_next_turn_however_many_long_ones_wait() -> None:
    clients = Clients(Turns(1))
    for number in range(200):
        clients.call(f"long {number}", parts=64)
    await clients.settle()
    for number in range(5):
        clients.call(f"short {number}", cost=1)
        await clients.settle()
        before = len(clients.given)
        await clients.end_turns(2)
        assert f"short {number}" in clients.given[before : before + 2]
    await clients.leave()


async def test_no_long_call_begins_beside_a_short_one() -> None:
    clients = Clients(Turns(2))
    for number in range(3):
        clients.call(f"long {number}", parts=3)
    await clients.settle()
    clients.call("short", cost=1)
    await clients.end_turns(1)
    assert clients.given[2:] == ["short"]
    await clients.end_turns(1)
    assert clients.given[2:] == ["short"]
    await clients.end_turns(1)
    assert len(clients.given) == 5
    await clients.leave()


async def test_no_number_of_short_calls_keeps_a_long_one_out() -> None:
    clients = Clients(Turns(1))
    for number in range(50):
        clients.call(f"short {number}", cost=1)
    long = clients.call("long", parts=4)
    await clients.settle()
    await clients.end_turns(54)
    await asyncio.wait_for(long, 5)
    assert [number for number, name in enumerate(clients.given) if name == "long"] == [1, 3, 5, 7]


async def test_callers_share_whatever_number_of_calls_each_makes() -> None:
    clients = Clients(Turns(1))
    for _ in range(30):
        clients.call("greedy", parts=5, caller="greedy")
    clients.call("modest", parts=5, caller="modest")
    await clients.settle()
    await clients.end_turns(10)
    assert clients.given[:10].count("modest") >= 4
    await clients.leave()


async def test_the_calls_of_one_caller_take_turns_too() -> None:
    clients = Clients(Turns(1))
    for name in "abc":
        clients.call(name, parts=4, caller="one")
    await clients.settle()
    await clients.end_turns(9)
    assert all(sorted(clients.given[start : start + 3]) == ["a", "b", "c"] for start in (0, 3, 6))
    await clients.end_turns(3)


async def test_tenants_share_whatever_number_of_callers_each_has() -> None:
    clients = Clients(Turns(1))
    for number in range(300):
        clients.call("greedy", parts=1 + number % 3, caller=f"greedy {number}", tenant="greedy")
    await clients.settle()
    for _ in range(5):
        clients.call("modest", parts=2, tenant="modest")
    await clients.settle()
    await clients.end_turns(21)
    assert clients.given[1:21].count("modest") == 10
    await clients.leave()


async def test_a_tenant_leaves_others_a_place_while_they_ask_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clients = Clients(Turns(2))
    clients.call("modest", cost=1, tenant="modest")
    for number in range(9):
        clients.call(f"greedy {number}", cost=1, tenant="greedy")
    await clients.settle()
    await clients.end_turns(3)
    assert clients.given == ["modest", "greedy 0", "greedy 1", "greedy 2"]  # one at a time
    clients.call("modest", cost=1, tenant="modest")
    await clients.settle()
    assert clients.given[4:] == ["modest"]  # at once
    await clients.end_turns(2)
    assert clients.given[5:] == ["greedy 3"]
    now += TENANT_SECONDS
    await clients.end_turns(1)
    assert clients.given[6:] == ["greedy 4", "greedy 5"]  # two at a time
    await clients.leave()


async def test_while_tenants_share_fewer_turns_are_given_at_a_time() -> None:
    clients = Clients(Turns(2, shared_places=1))
    for number in range(3):
        clients.call(f"greedy {number}", cost=1, tenant="greedy")
    await clients.settle()
    assert clients.given == ["greedy 0", "greedy 1"]
    clients.call("modest", cost=1, tenant="modest")
    await clients.end_turns(1)
    assert len(clients.given) == 2
    await clients.end_turns(1)
    assert clients.given[2:] == ["modest"]
    await clients.end_turns(1)
    assert clients.given[3:] == ["greedy 2"]
    await clients.leave()


async def test_a_step_of_a_long_job_makes_way_for_other_tenants_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns_module, "WAY_SECONDS", 60)
    turns = Turns(2)
    clients = Clients(turns)

    async def step(tenant: str) -> str:
        callers.tenant.set(tenant)
        await turns.make_way()
        return tenant

    await step("greedy")  # nobody else asks
    for tenant in ("modest", "greedy"):
        clients.call(tenant, cost=1, tenant=tenant)
    await clients.settle()
    waiting = asyncio.create_task(step("greedy"))
    await clients.settle()
    assert not waiting.done()
    await clients.end_turns(1)
    await asyncio.wait_for(waiting, 5)
    clients.call("modest", cost=1, tenant="modest")
    await clients.settle()
    monkeypatch.setattr(turns_module, "WAY_SECONDS", 0.01)
    assert await asyncio.wait_for(step("greedy"), 5) == "greedy"
    await clients.leave()


async def test_calls_of_one_tenant_that_wait_refuse_none_of_another() -> None:
    turns = Turns(1, most_waiting=2)
    clients = Clients(turns)
    for number in range(3):
        clients.call(f"greedy {number}", tenant="greedy")
    await clients.settle()
    modest = clients.call("modest", tenant="modest")
    await clients.end_turns(1)
    assert clients.given == ["greedy 0", "modest"]
    await clients.end_turns(3)
    await asyncio.wait_for(modest, 5)


async def test_only_so_many_wait_and_a_call_that_has_begun_is_not_refused() -> None:
    turns = Turns(1, most_waiting=2)
    clients = Clients(turns)
    long = clients.call("long", parts=2)
    await clients.settle()
    others = [clients.call(f"other {number}") for number in range(2)]
    await clients.settle()
    with pytest.raises(Busy, match="2 calls wait already, want at most 2"):
        async with turns.turn(Part(), 1):
            pass
    await clients.end_turns(4)
    await asyncio.wait_for(asyncio.gather(long, *others), 5)
    assert not turns.crowded(None)


async def test_a_call_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    turns = Turns(1)
    clients = Clients(turns)
    first, second, third = (clients.call(name) for name in ("first", "second", "third"))
    await clients.settle()
    second.cancel()
    first.cancel()
    await clients.settle()
    assert clients.given == ["first", "third"]
    third.cancel()
    await clients.settle()
    assert not turns.crowded(None)


async def test_a_turn_that_is_given_back_is_another_calls_until_it_is_taken_again() -> None:
    turns = Turns(1)
    clients = Clients(turns)
    async with turns.turn(Part(), 1) as turn:
        other = clients.call("other")
        await clients.settle()
        assert clients.given == []
        turn.give_back()
        await clients.settle()
        assert clients.given == ["other"]
        again = asyncio.create_task(turn.take())
        await clients.settle()
        assert not again.done()
        await clients.end_turns(1)
        await asyncio.wait_for(asyncio.gather(again, other), 5)
    assert not turns.crowded(None)


async def test_turns_are_as_short_as_can_be_for_a_moment_after_a_single_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    turns = Turns(2)
    for part, hurried in ((Part(queries=16), False), (Part(last=False), False), (Part(), True)):
        async with turns.turn(part, 1):
            assert turns.hurried is hurried
    now += BRIEF_SECONDS
    assert not turns.hurried
