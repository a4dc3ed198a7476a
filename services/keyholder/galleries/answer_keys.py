"""The newest answer key of each collection: follows storage's log, and what this keyholder appends itself.

Batches that this keyholder wrote are added when storage has taken them.  What others wrote (workers of bulk
ingest), and what was written while this key was not in memory, is read from storage's log, and each batch
proves that the owner wrote it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial

from blindsight.errors import BlindsightError, DataLoss
from blindsight.parameters import ParameterSet
from blindsight.runtime import logs
from blindsight.runtime.threads import Threads
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.clients.reading import LoggedBatch
from blindsight.trusted.columns import batches
from blindsight.trusted.columns.answer_key import AnswerKey, Extension
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.writer import Written
from blindsight.wire.storage import LogHeader, SlotBatch
from services.keyholder.galleries.store import AnswerKeyStore

# Changes of this time are saved together; what a killed keyholder did not save is read from storage again.
SAVE_SECONDS = 2.0


class AnswerKeys:
    """The answer keys of all collections of ring schemes.

    Args:
        store: keeps them over a restart.
        storage: has the log.
        threads: run the arithmetic.
    """

    def __init__(self, store: AnswerKeyStore, storage: StorageClient, threads: Threads) -> None:
        self._store = store
        self._storage = storage
        self._threads = threads
        self._newest: dict[bytes, AnswerKey] = {}
        self._saved: dict[bytes, AnswerKey] = {}
        self._locks: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._saving: dict[bytes, asyncio.Task[None]] = {}

    async def current(self, collection: OpenCollection) -> AnswerKey:
        """Returns an answer key that is not older than the collection's slot map when it is called.

        Raises:
            DataLoss: if storage's log is damaged, forged, or ends before what it had acknowledged.
            Unavailable: if storage does not answer.
        """
        slots = collection.slots  # others may write while the log is read
        async with self._locks[collection.record.collection_id]:
            key = await self._loaded(collection)
            if key.sequence < slots.sequence:
                key = await self._follow(collection, key)
        if key.sequence < slots.sequence:
            raise DataLoss(f"storage's log ends at {key.sequence}, want {slots.sequence} or more")
        fills = {segment: held.fill for segment, held in key.segments.items()}
        if key.sequence == slots.sequence and fills != {
            one: slots.segments[one].fill for one in slots.segments
        }:
            raise DataLoss("storage's log does not hold the batches of all slots")
        return key

    async def at(
        self, collection: OpenCollection, base: AnswerKey, sequence: int, epoch: int
    ) -> AnswerKey | None:
        """Returns the answer key of one point of the log, from an older one.

        Returns:
            The answer key; None if segments were retired since, so that their batches are gone, or if
            storage's log does not have that point.

        Raises:
            DataLoss: if storage's log is damaged or forged.
        """
        if base.epoch != epoch:
            return None
        if base.sequence == sequence:
            return base

        async def read(log: LogHeader, logged: AsyncIterator[LoggedBatch]) -> AnswerKey | None:
            if log.sequence < sequence:
                return None
            extension = Extension(base, collection.column_keys)
            async for one in logged:
                if one.sequence <= sequence:
                    await self._add(extension, collection, one)
            return extension.finish(sequence, epoch) if log.epoch == epoch else None

        return await self._storage.read_log(collection.record.collection_id, base.sequence, read)

    async def appended(self, collection: OpenCollection, written: Written) -> None:
        """Adds what storage has just taken from this keyholder; the caller holds the collection's lock."""
        if not isinstance(collection.parameters, ParameterSet):
            return
        async with self._locks[collection.record.collection_id]:
            key = await self._loaded(collection)
            # Else the log is read when the key is needed; what was lost cannot be subtracted.
            if key.sequence == written.after_sequence and None not in written.retired.values():
                made = await self._threads.run(_extended, key, collection.column_keys, written)
                self._keep(collection, made)

    async def emptied(self, collection: OpenCollection) -> None:
        """Starts anew for a collection that was truncated; the caller holds the collection's lock."""
        if not isinstance(collection.parameters, ParameterSet):
            return
        slots = collection.slots
        async with self._locks[collection.record.collection_id]:
            await self._loaded(collection)  # what is saved is replaced
            extension = Extension(AnswerKey(), collection.column_keys)
            self._keep(collection, extension.finish(slots.sequence, slots.epoch))

    async def forget(self, collection_id: bytes) -> None:
        """Forgets a deleted collection; what a full disk lets nobody remove is of no use to anybody."""
        async with self._locks[collection_id]:
            self._newest.pop(collection_id, None)
            self._saved.pop(collection_id, None)
            saving = self._saving.pop(collection_id, None)
            if saving is not None:
                saving.cancel()
            try:
                await asyncio.to_thread(self._store.forget, collection_id)
            except BlindsightError as error:
                logs.get().warning("answer_key_not_removed", reason=error.reason)
        del self._locks[collection_id]

    async def close(self) -> None:
        """Saves what is not saved yet, and closes the store."""
        for task in self._saving.values():
            task.cancel()
        await asyncio.gather(*self._saving.values(), return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    async def _loaded(self, collection: OpenCollection) -> AnswerKey:
        identity = collection.record.collection_id
        if identity not in self._newest:
            found = await asyncio.to_thread(self._store.load, identity, collection.column_keys)
            self._newest[identity] = self._saved[identity] = found or AnswerKey()
        return self._newest[identity]

    async def _follow(self, collection: OpenCollection, key: AnswerKey) -> AnswerKey:
        """Reads the log from an answer key on; from the beginning if batches of it are gone."""
        identity = collection.record.collection_id
        made = await self._storage.read_log(identity, key.sequence, partial(self._read, key, collection))
        if made is None:
            logs.get().info("answer_key_rebuilt", segments=len(key.segments))
            made = await self._storage.read_log(identity, 0, partial(self._read, AnswerKey(), collection))
        if made is None:
            raise DataLoss("storage says that segments are retired that its log has")
        self._keep(collection, made)
        return made

    async def _read(
        self, base: AnswerKey, collection: OpenCollection, log: LogHeader, logged: AsyncIterator[LoggedBatch]
    ) -> AnswerKey | None:
        if log.sequence < base.sequence:
            raise DataLoss(f"storage's log ends at {log.sequence}, want {base.sequence} or more")
        if any(segment in base.segments for segment in log.retired):
            return None
        extension = Extension(base, collection.column_keys)
        async for one in logged:
            await self._add(extension, collection, one)
        return extension.finish(log.sequence, log.epoch)

    async def _add(self, extension: Extension, collection: OpenCollection, one: LoggedBatch) -> None:
        # One that was written to the same place in another history of the collection is genuine, too.
        segment = collection.slots.segments.get(one.place.segment)
        wanted = segment.by_slot.get(one.place.first_slot) if segment is not None else None
        if wanted not in (None, SlotBatch(one.place.count, one.sha256)):
            raise DataLoss(f"a batch of segment {one.place.segment} is not the one that was written")
        await self._threads.run(_add, extension, collection.column_keys, one)

    def _keep(self, collection: OpenCollection, key: AnswerKey) -> None:
        identity = collection.record.collection_id
        self._newest[identity] = key
        if identity not in self._saving:
            task = asyncio.create_task(self._save(identity, collection.column_keys))
            self._saving[identity] = task

    async def _save(self, identity: bytes, keys: CollectionKeys) -> None:
        """Saves a collection's answer key after a while; at once if it is cancelled."""
        try:
            await asyncio.sleep(SAVE_SECONDS)
        finally:
            self._saving.pop(identity, None)
            key, before = self._newest.get(identity), self._saved.get(identity, AnswerKey())
            if key is not None:
                self._saved[identity] = key
                try:
                    await asyncio.to_thread(self._store.save, identity, keys, before, key)
                except BlindsightError as error:  # a full disk, for example: it is made again
                    self._saved[identity] = AnswerKey()
                    logs.get().warning("answer_key_not_saved", reason=error.reason)


def _add(extension: Extension, keys: CollectionKeys, one: LoggedBatch) -> None:
    extension.add(batches.read(one.block, one.place, keys))


def _extended(key: AnswerKey, keys: CollectionKeys, written: Written) -> AnswerKey:
    extension = Extension(key, keys)
    for segment, blocks in written.retired.items():
        extension.retire(segment, (batches.read(block, place, keys) for place, block in blocks or ()))
    for place, block in written.batches:
        extension.add(batches.read(block, place, keys))
    return extension.finish(written.sequence, written.epoch)
