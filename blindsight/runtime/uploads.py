"""The memory of what callers send, which is bounded over all calls: one that finds no room is read later."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from typing import TypeVar

from blindsight.errors import Busy, InvalidArgument, ResourceExhausted
from blindsight.runtime import callers
from blindsight.runtime.limits import USUAL

Part = TypeVar("Part")

# Of each call: vectors of a query, and settings.  A small call waits for no large one.
FREE_BYTES = 64 << 10
# What a call may hold that uses the first of what it is sent before the last has come.
FLOWING_BYTES = 64 << 20
# Calls that wait; each has one message in its hands.
MOST_WAITING = 64


class Uploads:
    """The bytes that all calls together were sent and may still hold.

    Args:
        total_bytes: the limit; what comes beyond it is left with its sender.
        flowing: methods, "/service/name", that use the first of what they are sent before the last has come.
        stall_seconds: a caller that sends nothing for this long is refused; so is one that finds no room for
            this long.
        idle_seconds: the first, for flowing methods: what was sent before stays.
    """

    def __init__(
        self,
        total_bytes: int,
        flowing: Collection[str] = (),
        stall_seconds: float = USUAL.stall_seconds,
        idle_seconds: float = USUAL.idle_seconds,
    ) -> None:
        self.total_bytes = total_bytes
        self.flowing = frozenset(flowing)
        self.stall_seconds = stall_seconds
        self.idle_seconds = idle_seconds
        self._free = total_bytes
        self._held: Counter[str] = Counter()  # by tenant
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    @property
    def held_bytes(self) -> int:
        """The bytes that calls hold now."""
        return self.total_bytes - self._free

    @property
    def waiting(self) -> int:
        """The number of calls that wait."""
        return len(self._waiting)

    async def take(self, size_bytes: int, tenant: str = "") -> None:
        """Waits for room, first come, first served; a tenant leaves room for others.

        Raises:
            ResourceExhausted: if it is more than the limit.
            Busy: if there is no room in time, or too many wait.
        """
        if size_bytes > self.total_bytes:
            raise ResourceExhausted(f"an upload of {size_bytes} bytes, want at most {self.total_bytes}")
        if sum(one == tenant for one, _, _ in self._waiting) >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} uploads wait for memory already")
        given = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, size_bytes, given))
        self._give()
        if given.done():
            return
        try:
            async with asyncio.timeout(self.stall_seconds):
                await given
        except BaseException as error:
            if given.done() and not given.cancelled():  # it was given just then
                self.release(size_bytes, tenant)
            self._waiting = [one for one in self._waiting if one[2] is not given]
            self._give()
            if isinstance(error, TimeoutError):
                raise Busy(f"no memory for an upload for {self.stall_seconds:g} s") from None
            raise

    def release(self, size_bytes: int, tenant: str = "") -> None:
        """Makes room."""
        self._free += size_bytes
        self._held[tenant] -= size_bytes
        if not self._held[tenant]:
            del self._held[tenant]
        self._give()

    def _give(self) -> None:
        self._waiting = [one for one in self._waiting if not one[2].done()]  # cancelled ones may be here yet
        for tenant, size_bytes, given in self._waiting:
            if self._has_its_share(tenant, size_bytes):
                continue
            if size_bytes > self._free:
                break  # smaller ones would overtake it for ever
            self._free -= size_bytes
            self._held[tenant] += size_bytes
            given.set_result(None)
        self._waiting = [one for one in self._waiting if not one[2].done()]

    def _has_its_share(self, tenant: str, more_bytes: int) -> bool:
        """Returns whether a tenant would hold so much that as much for each other could find no room."""
        has = self._held.get(tenant, 0)
        return bool(tenant and has) and (has + more_bytes) * (len(self._held) + 1) > self.total_bytes


class Upload:
    """What one call is sent.

    Args:
        uploads: the limits.
        method: the call's, "/service/name".
    """

    def __init__(self, uploads: Uploads, method: str) -> None:
        self._uploads = uploads
        self._flowing = method in uploads.flowing
        self._tenant = ""
        self._sent = self._held = 0

    async def parts(self, coming: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yields what comes, as soon as there is room for it.

        Raises:
            InvalidArgument: if nothing comes for too long.
            Busy: if there is no room in time; the call has done nothing yet.
        """
        while (part := await self._next(coming)) is not None:
            await self.hold(len(part))
            yield part

    async def _next(self, coming: AsyncIterator[bytes]) -> bytes | None:
        seconds = self._uploads.idle_seconds if self._flowing else self._uploads.stall_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(coming, None)
        except TimeoutError:
            raise InvalidArgument(f"nothing came for {seconds:g} s, want the rest of the stream") from None

    async def hold(self, size_bytes: int) -> None:
        """Waits for room for a message that came.

        Raises:
            Busy: if there is none in time.
        """
        before, self._sent = self._sent, self._sent + size_bytes
        if self._flowing:
            # What comes first says what is to be done with the rest; a call that sends no more holds nothing.
            # Then all at once, since it cannot be refused when it has done something.
            begins = not self._held and (before or size_bytes > FREE_BYTES)
            wanted = min(FLOWING_BYTES, self._uploads.total_bytes) if begins else 0
        else:
            wanted = max(0, self._sent - FREE_BYTES) - max(0, before - FREE_BYTES)
        if wanted:
            self._tenant = callers.tenant.get()
            await self._uploads.take(wanted, self._tenant)
        self._held += wanted

    def release(self) -> None:
        """Ends the call, and makes room."""
        held, self._held = self._held, 0
        if held:
            self._uploads.release(held, self._tenant)
