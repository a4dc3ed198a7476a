"""What a tenant may use: items, bytes, heavy jobs and collections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar

from blindsight.errors import ResourceExhausted
from blindsight.trusted.vault.room import Left, Room
from blindsight.wire.tenants import Quotas

Servicer = TypeVar("Servicer", bound="CountsHeavyJobs")
Response = TypeVar("Response")
# A heavy job works at least so long before it makes way again.
STEP_SECONDS = 0.1
# Items and bytes that are stored.
Used = Callable[[], Awaitable[tuple[int, int]]]


class CountsHeavyJobs(Protocol):
    """A servicer some of whose rpcs are heavy jobs."""

    def heavy_job(self) -> AbstractContextManager[HeavyJob]:
        """Counts a heavy job of the current call's caller; see `Allowance.heavy_job`."""


def heavy(
    rpc: Callable[[Servicer, Any, Any], AsyncIterator[Response]],
) -> Callable[[Servicer, Any, Any], AsyncIterator[Response]]:
    """Makes an rpc a heavy job, which makes way for others between the parts of its answer."""

    @wraps(rpc)
    async def counted(self: Servicer, request: Any, context: Any) -> AsyncIterator[Response]:
        with self.heavy_job() as job:
            responses = rpc(self, request, context)
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    yield response
                    await job.go_on()

    return counted


class HeavyJob:
    """A heavy job that runs.

    Args:
        make_way: waits, for a moment at most, while others ask for what cannot wait.
    """

    def __init__(self, make_way: Callable[[], Awaitable[None]]) -> None:
        self._make_way = make_way
        self._worked_since = time.monotonic()

    async def go_on(self) -> None:
        """Makes way for others, if it has worked for long enough to have got anywhere."""
        if time.monotonic() - self._worked_since >= STEP_SECONDS:
            await self._make_way()
            self._worked_since = time.monotonic()


class Allowance:
    """The use of one tenant, within quotas.

    Args:
        quotas: the limits; None: there are none.
        make_way: see `HeavyJob`.

    Attributes:
        quotas: the same; may be replaced by others.
        heavy_jobs: number of those that run.
    """

    def __init__(self, quotas: Quotas | None, make_way: Callable[[], Awaitable[None]]) -> None:
        self.quotas = quotas or Quotas()
        self._make_way = make_way
        self.heavy_jobs = 0
        self._writing = asyncio.Lock()

    @contextmanager
    def heavy_job(self) -> Iterator[HeavyJob]:
        """Counts a heavy job while the block runs.

        Raises:
            ResourceExhausted: if too many run.
        """
        most = self.quotas.heavy_jobs
        if most is not None and self.heavy_jobs >= most:
            raise ResourceExhausted(
                f"quota: {self.heavy_jobs} heavy jobs run, want at most {most}; wait until one has ended"
            )
        self.heavy_jobs += 1
        try:
            yield HeavyJob(self._make_way)
        finally:
            self.heavy_jobs -= 1

    @asynccontextmanager
    async def new_collection(self, names: Callable[[], Awaitable[Sequence[str]]]) -> AsyncIterator[None]:
        """Lets the block make a collection; with a limit, one at a time.

        Args:
            names: of those that there are.

        Raises:
            ResourceExhausted: if there are too many.
        """
        most = self.quotas.max_collections
        if most is None:
            yield
            return
        async with self._writing:
            if (has := len(await names())) >= most:
                raise ResourceExhausted(
                    f"quota of {most} collections: there are {has}, want fewer; delete some, or ask for more"
                )
            yield

    @asynccontextmanager
    async def room(self, used: Used) -> AsyncIterator[Room]:
        """Gives the block room for one write; with limits, one write at a time, so that none is passed."""
        if self.quotas.items is None and self.quotas.size_bytes is None:
            yield Room()
            return
        async with self._writing:
            items, size_bytes = await used()
            yield Room(_left(self.quotas.items, items), _left(self.quotas.size_bytes, size_bytes))


def _left(quota: int | None, used: int) -> Left | None:
    return None if quota is None else Left(quota, max(0, quota - used))
