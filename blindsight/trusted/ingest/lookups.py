"""Lookups of items in storage, several in one call."""

from __future__ import annotations

import asyncio

from blindsight.errors import DataLoss
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.items import FoundItem, Items

_Wanted = list[tuple[bytes, asyncio.Future[FoundItem | None]]]


class Lookups:
    """Lookups of items by handle; those requested while storage answers share the next call.

    Args:
        items: asks storage.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self._wanted: dict[bytes, _Wanted] = {}
        self._asking: dict[bytes, asyncio.Task[None]] = {}

    async def find(self, collection: OpenCollection, handle: bytes) -> FoundItem | None:
        """Returns an item, or None if it does not exist.

        Raises:
            BlindsightError: if storage reports an error.
        """
        collection_id = collection.record.collection_id
        found: asyncio.Future[FoundItem | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(collection_id, []).append((handle, found))
        if collection_id not in self._asking:
            self._asking[collection_id] = asyncio.create_task(self._ask(collection))
        try:
            return await found
        finally:
            del found  # it would hold an error, and the error this frame and its callers', with their photos

    async def _ask(self, collection: OpenCollection) -> None:
        collection_id = collection.record.collection_id
        try:
            while wanted := self._wanted.pop(collection_id, None):
                await self._answer(collection, wanted)
        finally:
            del self._asking[collection_id]

    async def _answer(self, collection: OpenCollection, wanted: _Wanted) -> None:
        try:
            handles = [handle for handle, _ in wanted]
            there, damaged = await self._items.find_intact(collection, handles, len(handles))
        except Exception as error:  # noqa: BLE001 - every waiting caller must get the error
            for _, found in wanted:
                if not found.done():
                    found.set_exception(error.with_traceback(None))
        else:
            for handle, found in wanted:
                if found.done():
                    continue
                if handle in damaged:
                    found.set_exception(DataLoss(damaged[handle]))
                else:
                    found.set_result(there.get(handle))
