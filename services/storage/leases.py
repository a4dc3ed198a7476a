"""Leases of key sets: which keyholder may write, and how long another has to wait for it.

What must not be forgotten, tokens and holders, is the store's.  When a lease ends is in memory, by a clock
that runs on while the machine sleeps and that nobody can set; after a start of storage every lease lasts its
full time again.
"""

from __future__ import annotations

from blindsight.runtime import clock
from blindsight.wire.storage import Lease
from services.storage.executors import Threads
from services.storage.stores import Store

_MILLISECONDS = 1000


class Leases:
    """The leases of a store.

    Args:
        store: keeps tokens and holders.
        threads: run the store's calls; those that write, one at a time, so that no two take a lease at once.
        seconds: how long a lease lasts that is not renewed.
    """

    def __init__(self, store: Store, threads: Threads, seconds: float) -> None:
        self._store = store
        self._threads = threads
        self._seconds = seconds
        self._started = clock.seconds()
        self._renewed: dict[bytes, float] = {}

    @property
    def milliseconds(self) -> int:
        """How long a lease lasts that is not renewed."""
        return round(self._seconds * _MILLISECONDS)

    async def take(self, key_id: bytes, holder_id: bytes) -> Lease:
        """Gives a lease to a holder, unless another's lasts."""
        return await self._threads.write(self._take, key_id, holder_id)

    def _take(self, key_id: bytes, holder_id: bytes) -> Lease:
        now = clock.seconds()
        left = self._renewed.get(key_id, self._started) + self._seconds - now
        if left > 0 and self._store.lease(key_id)[1] not in (b"", holder_id):
            return Lease(0, max(round(left * _MILLISECONDS), 1))
        token = self._store.take_lease(key_id, holder_id)
        self._renewed[key_id] = now
        return Lease(token, self.milliseconds)

    async def renew(self, key_id: bytes, holder_id: bytes, token: int) -> None:
        """Lets a lease last on.

        Raises:
            Fenced: if there is a newer token.
        """
        # A renewal that changes nothing does not wait for a large deletion to be written.
        if await self._threads.read(self._store.lease, key_id) != (token, holder_id):
            await self._threads.write(self._store.renew_lease, key_id, holder_id, token)
        self._renewed[key_id] = clock.seconds()

    async def release(self, key_id: bytes, token: int) -> None:
        """Gives a lease back; does nothing if there is a newer token."""
        await self._threads.write(self._store.release_lease, key_id, token)
