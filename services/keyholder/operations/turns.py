"""Turns of searches and verifications: how many are computed at once, and whose is next."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from blindsight.errors import Busy
from blindsight.runtime import callers

# Calls that wait; each holds its queries meanwhile.
MOST_WAITING = 1024
# After a call with a single query, others are expected for this long.
BRIEF_SECONDS = 1.0
# After a turn of a tenant, others leave it a place for this long.
TENANT_SECONDS = 10.0
# A step of a long job, such as storing a batch, waits no longer than this for searches of other tenants.
WAY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Part:
    """What a call does in one turn.

    Attributes:
        first, last: whether it is the first turn of its call, and the last.
        call: the call, which equals no other.
        queries: number of queries that are computed in it.
        tenant: whose call it is.
    """

    first: bool = True
    last: bool = True
    call: Hashable = field(default_factory=object)
    queries: int = 1
    tenant: str = field(default_factory=callers.tenant.get)

    @property
    def brief(self) -> bool:
        """Whether the call needs no other turn."""
        return self.first and self.last


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    part: Part
    cost: float
    caller: str
    given: asyncio.Future[None]


class Turns:
    """Turns of calls, which are given by fairness and not by who asks most.

    Tenants take turns by what they were given so far; and while others ask now and then, no tenant has all
    places, so that theirs need not wait for one.

    Of one tenant, while both wait, every other turn is for a call that needs only one, and no longer one
    begins beside it: so a search with one query does not wait for those with thousands, and no number of
    short ones keeps longer ones out.  Among each kind, callers take turns by what they were given so far, and
    so do the calls of one caller.

    Args:
        places: number of turns at a time.
        most_waiting: number of calls of each tenant that may wait.
        shared_places: number of turns at a time while several tenants ask; None: `places`.
    """

    def __init__(
        self, places: int, most_waiting: int = MOST_WAITING, shared_places: int | None = None
    ) -> None:
        self._places = places
        self._shared_places = places if shared_places is None else shared_places
        self._most_waiting = most_waiting
        self._running: list[Part] = []
        self._last_brief: dict[str, bool] = {}
        self._asked: dict[str, float] = {}
        self._single_came = -math.inf
        self._making_way: list[asyncio.Future[None]] = []
        self._waiting: list[_Waiting] = []
        self._tenants, self._callers, self._calls = _Shares(), _Shares(), _Shares()

    def crowded(self, call: Hashable) -> bool:
        """Returns whether others than a call have turns or wait, so that its turns should be short."""
        parts = (*self._running, *(waiting.part for waiting in self._waiting))
        return any(part.call is not call for part in parts)

    @property
    def hurried(self) -> bool:
        """Whether a call with a single query came a moment ago: turns should be as short as can be."""
        return time.monotonic() - self._single_came < BRIEF_SECONDS

    async def make_way(self) -> None:
        """Waits, for a moment at most, while other tenants have turns or wait: for steps of long jobs."""
        tenant = callers.tenant.get()
        until = time.monotonic() + WAY_SECONDS
        while self._busy_for_others(tenant) and (left := until - time.monotonic()) > 0:
            given = asyncio.get_running_loop().create_future()
            self._making_way.append(given)
            await asyncio.wait([given], timeout=left)
            given.cancel()

    def _busy_for_others(self, tenant: str) -> bool:
        if len(self._asked) < 2:
            return False
        parts = (*self._running, *(waiting.part for waiting in self._waiting))
        return any(part.tenant != tenant for part in parts)

    @asynccontextmanager
    async def turn(self, part: Part, cost: float) -> AsyncIterator[Turn]:
        """Waits for a turn, which lasts while the block runs.

        Args:
            part: what is done in it.
            cost: what it costs, in a unit that all calls share.

        Raises:
            Busy: without waiting, if it is a call's first turn and too many wait.
        """
        waiting = sum(one.part.tenant == part.tenant for one in self._waiting)
        if part.first and waiting >= self._most_waiting:
            raise Busy(f"{waiting} calls wait already, want at most {self._most_waiting}")
        turn = Turn(self, part, cost)
        await turn.take()
        try:
            yield turn
        finally:
            turn.give_back()

    async def wait(self, part: Part, cost: float) -> None:
        """Waits for a turn; use `turn`, which ends it."""
        given = asyncio.get_running_loop().create_future()
        if part.brief and part.queries == 1:
            self._single_came = time.monotonic()
        waiting = _Waiting(part, cost, callers.current.get(), given)
        self._waiting.append(waiting)
        self._asked[part.tenant] = time.monotonic()
        self._give()
        try:
            await given
        except BaseException:
            if not given.cancel() and not given.cancelled():  # it was given just then
                self.end(part)
            self._forget_cancelled()
            raise

    def end(self, part: Part) -> None:
        """Ends a turn."""
        self._running.remove(part)
        self._asked[part.tenant] = time.monotonic()
        self._give()
        waiting, self._making_way = self._making_way, []
        for given in waiting:
            if not given.done():
                given.set_result(None)

    def _forget_cancelled(self) -> None:
        self._waiting = [waiting for waiting in self._waiting if not waiting.given.cancelled()]

    def _give(self) -> None:
        # Calls that were cancelled together are still here when the first of them runs.
        self._forget_cancelled()
        recent = time.monotonic() - TENANT_SECONDS
        self._asked = {tenant: last for tenant, last in self._asked.items() if last > recent}
        self._last_brief = {one: was for one, was in self._last_brief.items() if one in self._asked}
        while len(self._running) < self._places:
            following = min(filter(self._may, self._waiting), key=self._rank, default=None)
            if following is None:
                return
            if not following.part.brief and any(part.brief for part in self._running):
                return  # it would slow down a call that is soon over
            self._waiting.remove(following)
            self._running.append(following.part)
            tenant = following.part.tenant
            self._last_brief[tenant] = following.part.brief
            self._tenants.serve(tenant, following.cost)
            self._callers.serve((tenant, following.caller), following.cost)
            self._calls.serve(following.part.call, following.cost)
            following.given.set_result(None)

    def _may(self, waiting: _Waiting) -> bool:
        """Returns whether a call's tenant may have one more place beside those that it has."""
        tenant = waiting.part.tenant
        if not self._asked.keys() - {tenant}:
            return True
        has = sum(part.tenant == tenant for part in self._running)
        return len(self._running) < self._shared_places and has < max(1, self._shared_places - 1)

    def _rank(self, waiting: _Waiting) -> tuple[float, bool, float, float, float]:
        part, tenant = waiting.part, waiting.part.tenant
        shares = self._callers.start((tenant, waiting.caller)), self._calls.start(part.call)
        kind = part.brief == self._last_brief.get(tenant, False)
        return self._tenants.start(tenant), kind, *shares, waiting.cost


class Turn:
    """A turn, which may be given back while its call waits for something else.

    Args:
        turns: whose it is.
        part, cost: see `Turns.turn`.
    """

    def __init__(self, turns: Turns, part: Part, cost: float) -> None:
        self._turns, self._part, self._cost = turns, part, cost
        self._has = False

    async def take(self) -> None:
        """Waits for the turn, if it is not this call's already."""
        if not self._has:
            await self._turns.wait(self._part, self._cost)
            self._has = True

    def give_back(self) -> None:
        """Gives the turn to another call."""
        if self._has:
            self._has = False
            self._turns.end(self._part)


class _Shares:
    """What each was given, by start-time fair queueing (Goyal, Vin and Cheng, 1997).

    The virtual time is that at which the newest turn started; whoever had nothing to do meanwhile saves
    nothing up.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ends: dict[Hashable, float] = {}

    def start(self, who: Hashable) -> float:
        """Returns the virtual time at which the next turn would start."""
        return max(self._now, self._ends.get(who, 0.0))

    def serve(self, who: Hashable, cost: float) -> None:
        """Gives a turn."""
        self._now = self.start(who)
        self._ends[who] = self._now + cost
        self._ends = {one: end for one, end in self._ends.items() if end > self._now}
