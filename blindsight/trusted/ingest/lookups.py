"""Lookups of items in storage, several in one call."""

from __future__ import annotations

import asyncio

from blindsight.trusted.clients import StorageClient
from blindsight.wire.storage import StoredItem

_Wanted = list[tuple[bytes, asyncio.Future[StoredItem | None]]]


class Lookups:
    """Lookups of items by handle; those requested while storage answers share the next call.

    Args:
        storage: the client of storage.
    """

    def __init__(self, storage: StorageClient) -> None:
        self._storage = storage
        self._wanted: dict[bytes, _Wanted] = {}
        self._asking: dict[bytes, asyncio.Task[None]] = {}

    async def find(self, collection_id: bytes, handle: bytes) -> StoredItem | None:
        """Returns an item, or None if it does not exist.

        Raises:
            BlindsightError: if storage reports an error.
        """
        found: asyncio.Future[StoredItem | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(collection_id, []).append((handle, found))
        if collection_id not in self._asking:
            self._asking[collection_id] = asyncio.create_task(self._ask(collection_id))
        try:
            return await found
        finally:
            del found  # it would hold an error, and the error this frame and its callers', with their photos

    async def _ask(self, collection_id: bytes) -> None:
        try:
            while wanted := self._wanted.pop(collection_id, None):
                await self._answer(collection_id, wanted)
        finally:
            del self._asking[collection_id]

    async def _answer(self, collection_id: bytes, wanted: _Wanted) -> None:
        try:
            there = await self._storage.get_items(collection_id, [handle for handle, _ in wanted])
        except Exception as error:  # noqa: BLE001 - every waiting caller must get the error
            for _, found in wanted:
                if not found.done():
                    found.set_exception(error.with_traceback(None))
        else:
            for handle, found in wanted:
                if not found.done():
                    found.set_result(there.get(handle))
