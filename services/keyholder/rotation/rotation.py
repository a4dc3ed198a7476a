"""A rotation: it copies all collections, follows them, and switches when nothing differs any more."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path

from blindsight.ciphertext.header import KEY_ID_BYTES
from blindsight.errors import BlindsightError, Conflict, DataLoss, InvalidArgument, NotFound
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.keyring import keyfile
from blindsight.trusted.keyring import keys as key_sets
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.secrets import Secret
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.wire import keys as wire
from services.keyholder.lease import Lease
from services.keyholder.rotation import names, resealing, switching
from services.keyholder.rotation.copying import Copying
from services.keyholder.rotation.journal import FILE_NAME, Journal
from services.keyholder.service import Keyholder
from services.keyholder.settings import KEY_FILE_NAME

# Of items that are still to be copied when the keyholder stops to serve for a moment: they take a second.
_FEW = 200
# Of passes without a moment in which few items differ; then the rest is copied while nothing is written.
_MOST_PASSES = 20
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_DAMAGED_SECONDS = 10.0
# Once nothing is written, the second pass finds nothing; a third would be a fault.
_LAST_PASSES = 3
# What is refused in the last moment is so after a while, too; meanwhile the vault serves.
_SHORTEST_HESITATION_SECONDS, _LONGEST_HESITATION_SECONDS = 5.0, 600.0
_TRIED = "it could not switch, and tries again: see the keyholder's log"
_IMPORTS = "it waits for imports to end: photos of some are in the queue, or failed and may be tried again"


@dataclass(frozen=True, slots=True)
class Opened:
    """A rotation that is under way: the keyholder of the new keys, and the journal."""

    keyholder: Keyholder
    journal: Journal
    copying: Copying


class Rotation:
    """The rotation of a keyholder's keys; there is one at a time.

    Args:
        keyholder: of the keys that are there.
        data: its folder.
        make: makes the keyholder of other keys, with a folder of its own, on the same machine.
        passphrase: reads the passphrase that opens the key file; blocking.
        failures: how often the last moment has failed: the more, the longer it waits for the next.

    Attributes:
        ready: set when all is copied, but for what is written in the last moment: who serves stops to do so,
            calls `settle`, and serves again.
    """

    def __init__(
        self,
        keyholder: Keyholder,
        data: Path,
        make: Callable[[KeySet, Path], Keyholder],
        passphrase: Callable[[], Secret],
        failures: int = 0,
    ) -> None:
        self._hesitates_seconds = min(_SHORTEST_HESITATION_SECONDS * 2**failures, _LONGEST_HESITATION_SECONDS)
        if not failures:
            self._hesitates_seconds = 0.0
        self._old = keyholder
        self._data = data
        self._folder = switching.folder_of(data)
        self._make = make
        self._passphrase = passphrase
        self._opened: Opened | None = None
        self._running: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._message = ""
        self._new_key_id = b""
        self._done = self._total = 0
        self._twins: dict[bytes, bytes] = {}
        self._new_keys: KeySet | None = None
        self._cleaning = switching.replaced_key_id(data) is not None
        self.ready = asyncio.Event()

    async def start(self, key_id: bytes) -> None:
        """Begins a rotation, or goes on with the one that has begun.

        Args:
            key_id: of the keys that are to be replaced: a call that is repeated replaces no others.

        Raises:
            InvalidArgument: if it is no key id.
            WrongPassphrase: if the passphrase file opens the key file no more.
            Conflict: if other keys count, or the last rotation is not cleared away yet.
        """
        if len(key_id) != KEY_ID_BYTES:
            raise InvalidArgument(f"key_id of {len(key_id)} bytes, want the {KEY_ID_BYTES} of GetRotation")
        if key_id != self._old.keys.key_id:
            raise Conflict(f"key {key_id.hex()} is not the one that counts: it may have been rotated")
        async with self._starting:
            if self._cleaning:
                raise Conflict("the last rotation is at its end: what the old keys sealed is being deleted")
            if self._running is not None:
                return
            if not switching.is_begun(self._data):
                await asyncio.to_thread(self._create)
            self.resume()

    def _create(self) -> None:
        secret = self._passphrase()
        keyfile.read(self._data / KEY_FILE_NAME, secret)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        switching.empty(self._folder)  # of one that was cut off before it had keys
        keyfile.write(self._folder / KEY_FILE_NAME, key_sets.create(), secret)

    def resume(self) -> None:
        """Goes on in the background with what has begun; does nothing if nothing has."""
        if self._running is None and (self._cleaning or switching.is_begun(self._data)):
            work = self._clean() if self._cleaning else self._run()
            # Nobody's call: it is limited to no collections.
            self._running = asyncio.create_task(work, context=Context())

    def status(self) -> wire.Rotation:
        """Returns how far it is."""
        state = wire.RotationState.NONE
        if self._cleaning:
            state = wire.RotationState.CLEARING
        elif self._running is not None:
            state = wire.RotationState.SWITCHING if self.ready.is_set() else wire.RotationState.COPYING
        done = min(self._done, self._total)
        return wire.Rotation(state, self._old.keys.key_id, self._new_key_id, done, self._total, self._message)

    async def _run(self) -> None:
        backoff = Backoff(first_seconds=_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=1)
        self._old.repacks = False  # what moves would be copied again
        passes, begun = 0, time.monotonic()
        while True:
            try:
                opened = self._opened or await self._open()
                changed = await self._pass(opened)
                passes += 1
                self._message = _IMPORTS if await self._old.imports_under_way() else ""
                if not self._message and (changed <= _FEW or passes >= _MOST_PASSES):
                    if time.monotonic() >= begun + self._hesitates_seconds:
                        self.ready.set()
                        return
                    self._message = _TRIED
            except (NotFound, Conflict):  # deleted, or written to, meanwhile
                pass
            except BlindsightError as error:
                damaged = isinstance(error, DataLoss)
                self._message = f"repair or delete first: {error.message}" if damaged else error.message
                logs.get().warning("background_work_failed", what="rotation", reason=error.reason)
                await asyncio.sleep(_DAMAGED_SECONDS if damaged else backoff.pause())
            if self._message:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _open(self) -> Opened:
        secret = await asyncio.to_thread(self._passphrase)
        keys = await asyncio.to_thread(keyfile.read, self._folder / KEY_FILE_NAME, secret)
        self._new_key_id = keys.key_id
        keyholder = self._make(keys, self._folder)
        journal = await asyncio.to_thread(Journal, self._folder / FILE_NAME)
        opened = Opened(keyholder, journal, Copying(self._old.side, keyholder.side, journal, self._copied))
        try:
            await keyholder.start()
            await opened.copying.tidy()
        except BaseException:
            await _close(opened)
            raise
        self._opened = opened
        return opened

    def _copied(self, items: int) -> None:
        self._done += items

    async def _pass(self, opened: Opened) -> int:
        """Brings all copies to the state of their collections; returns how many items differed."""
        collections = {one.record.collection_id: one for one in await self._old.vault.all()}
        for collection in collections.values():
            if collection.damage:
                raise DataLoss(f"collection {collection.config.name!r}: {collection.damage}")
        if self._old.vault.unreadable or self._old.vault.lost:
            raise DataLoss("storage has lost or changed collections; see `blindsight status`")
        twins = await asyncio.to_thread(opened.journal.twins)
        for gone in twins.keys() - collections.keys():
            await opened.copying.drop(gone, twins[gone])
        self._total = sum(one.slots.items for one in collections.values())
        self._done = await asyncio.to_thread(opened.journal.count)
        changed = 0
        for collection_id in collections:
            changed += await opened.copying.follow(await self._old.vault.get_by_id(collection_id))
        return changed

    async def settle(self) -> bool:
        """Copies the rest while nobody is served; returns whether `commit` may be called.

        That is done when both keyholders are closed; if it is not, all is as it was.
        """
        if self._opened is None:
            return False
        try:
            if await self._old.imports_under_way():
                return False
            self._twins = await self._settle(self._opened)
        except BlindsightError as error:
            logs.get().warning("background_work_failed", what="rotation", reason=error.reason)
            return False
        self._new_keys = self._opened.keyholder.keys
        return True

    def commit(self) -> bool:
        """Has the new keys count, and destroys the old key file; returns whether it could.  Blocking."""
        if self._new_keys is None:
            return False
        old = self._old.keys
        try:
            resealing.reseal(self._data, self._folder, old, self._new_keys, self._twins)
            switching.commit(self._data, old.key_id)
        except (BlindsightError, OSError, sqlite3.Error) as error:
            logs.get().warning("background_work_failed", what="rotation", reason=type(error).__name__)
            return False
        switching.finish(self._data)
        logs.get().info("keys_rotated")
        return True

    async def _settle(self, opened: Opened) -> dict[bytes, bytes]:
        """Copies what is left, and returns the ids of copies by those of the collections."""
        # What still writes under the old keys is refused from here on.
        await self._old.lease.take_again(self._old.side.storage)
        for _ in range(_LAST_PASSES):
            if not await self._pass(opened):
                break
        else:
            raise Conflict("the vault is written to although nobody is served")
        twins = await asyncio.to_thread(opened.journal.twins)
        pairs = {
            collection_id: (
                await self._old.vault.get_by_id(collection_id),
                await opened.keyholder.vault.get_by_id(twin_id),
            )
            for collection_id, twin_id in twins.items()
        }
        for collection, twin in pairs.values():
            if _counts(collection) != _counts(twin):  # it is made anew
                await opened.copying.drop(collection.record.collection_id, twin.record.collection_id)
                raise DataLoss(f"the copy of collection {collection.config.name!r} is not what it is of")
        await names.settle(opened.keyholder.vault, opened.keyholder.side.writer, pairs)
        return twins

    async def _clean(self) -> None:
        """Deletes what the old keys sealed in storage, and what the rotation kept here."""
        replaced = switching.replaced_key_id(self._data)
        backoff = Backoff(first_seconds=_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=1)
        while replaced is not None:
            try:
                await self._delete(replaced)
                await asyncio.to_thread(switching.clear, self._data)
                replaced = None
                await self._old.repack_what_is_due()  # photos were copied in small groups
            except BlindsightError as error:
                self._message = error.message
                await asyncio.sleep(backoff.pause())
        self._message, self._cleaning, self._running = "", False, None

    async def _delete(self, key_id: bytes) -> None:
        lease = Lease(key_id, self._old.lease.holder_id)
        storage: StorageClient = self._old.side.storage.fenced_by(lease)
        await lease.start(storage)
        try:
            for one in await storage.list_collections():
                if one.key_id == key_id:
                    with suppress(NotFound):
                        await storage.delete_collection(one.collection_id)
                    await self._old.vault.drop_gallery(one.collection_id)
        finally:
            await lease.close(storage)

    async def close(self) -> None:
        """Stops; what was copied stays, and the next start goes on with it."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._opened is not None:
            await _close(self._opened)
            self._opened = None


async def _close(opened: Opened) -> None:
    await opened.keyholder.close()
    await asyncio.to_thread(opened.journal.close)


def _counts(collection: OpenCollection) -> tuple[int, ...]:
    slots: SlotMap = collection.slots
    return slots.items, slots.rows, slots.quarantined_items(), slots.undescribed_items()
