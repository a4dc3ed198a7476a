"""The keyholder's lease at storage: of all keyholders with the same keys, one writes.

A copied folder, or a second replica by mistake, would otherwise give the same slots to different items.
Storage is not trusted with this: it guards against accidents.  What storage does against the lease, heads
and links show.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from blindsight.errors import BlindsightError, Fenced, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.clients.fencing import FENCED, Fence

FILE_NAME = "holder"
_LIVES = "another keyholder of these keys is using this storage: stop it before you start this one"
_ID_BYTES = 16
_AWAY_SECONDS = 1.0
# Renewals in the time that a lease lasts.
_RENEWALS = 3
# Whatever storage says of how long a lease lasts, in milliseconds.
_SHORTEST, _LONGEST = 100, 3_600_000


class Lease(Fence):
    """The lease of a keyholder.

    Args:
        key_id: of its key set.
        holder_id: of its folder; see `holder_id`.
        wait_seconds: how long a write waits for the lease while storage is away.

    Attributes:
        holder_id: of its folder.
        fenced: whether another keyholder has taken over.
    """

    def __init__(self, key_id: bytes, holder_id: bytes, wait_seconds: float = RETRY_SECONDS) -> None:
        super().__init__()
        self._key_id = key_id
        self.holder_id = holder_id
        self._wait_seconds = wait_seconds
        self._known = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None
        self.fenced = False

    async def start(self, storage: StorageClient) -> None:
        """Takes the lease, and keeps it; while storage is away it is tried in the background.

        Waits until the lease of another keyholder ends.

        Raises:
            Fenced: if another keyholder renews its lease meanwhile: it lives.
        """
        pause = await self._try(storage)
        self._holding = asyncio.create_task(self._hold(storage, pause))

    async def _hold(self, storage: StorageClient, pause: float) -> None:
        try:
            while True:
                await asyncio.sleep(pause)
                pause = await self._try(storage)
        except Fenced:
            self.lost()

    async def _try(self, storage: StorageClient) -> float:
        """Takes or renews the lease; returns the seconds until the next time.

        Raises:
            Fenced: if another keyholder has it, and lives.
        """
        try:
            if self.newest:
                milliseconds = await storage.renew_lease(self._key_id, self.holder_id, self.newest)
            else:
                milliseconds = await self._take(storage)
        except Fenced:
            raise
        except BlindsightError as error:
            logs.get().warning("waiting", what="lease", reason=error.reason)
            return _AWAY_SECONDS
        return _seconds(milliseconds) / _RENEWALS

    async def _take(self, storage: StorageClient) -> int:
        lease = await storage.take_lease(self._key_id, self.holder_id)
        if not lease.fencing_token:
            seconds = _seconds(lease.lease_milliseconds)
            logs.get().warning("another_keyholder_has_the_lease", seconds=round(seconds, 1))
            await asyncio.sleep(seconds)
            lease = await storage.take_lease(self._key_id, self.holder_id)
        if not lease.fencing_token:
            raise Fenced(_LIVES)
        self.newest = lease.fencing_token
        self._known.set()
        return lease.lease_milliseconds

    async def take_again(self, storage: StorageClient) -> None:
        """Takes the lease anew: storage refuses from now on who writes by the token that there was.

        Raises:
            Fenced: if another keyholder has taken it meanwhile.
            BlindsightError: if storage does not answer.
        """
        self.require()
        await self._take(storage)

    async def token(self) -> int:
        """Returns the token for a write; waits for storage, if it was away since the start.

        Raises:
            Fenced: if another keyholder has taken over.
            Unavailable: if storage stays away.
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._known.wait()
        except TimeoutError:
            raise Unavailable(
                "storage does not answer: it has not given this keyholder the lease yet"
            ) from None
        self.require()
        return self.newest

    def require(self) -> None:
        if self.fenced:
            raise Fenced(FENCED)

    def lost(self) -> None:
        if not self.fenced:
            self.fenced = True
            self._known.set()
            logs.get().error("fenced", message=FENCED)

    async def close(self, storage: StorageClient) -> None:
        """Gives the lease back, so that another keyholder need not wait for its end."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        if self.newest and not self.fenced:
            with suppress(BlindsightError):
                await storage.release_lease(self._key_id, self.newest)


def _seconds(milliseconds: int) -> float:
    return min(max(milliseconds, _SHORTEST), _LONGEST) / 1000


def holder_id(folder: Path) -> bytes:
    """Returns the id of a keyholder's folder, 16 bytes: the same after a restart, another one for a copy.

    A copied file has another number in its file system.  A clone of a whole disk has the same id.
    """
    path = folder / FILE_NAME
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(os.urandom(_ID_BYTES))
    inode = path.stat().st_ino.to_bytes(8, "little")
    return hashlib.sha256(path.read_bytes() + inode).digest()[:_ID_BYTES]
