"""Reads sealed things of items: each must be the one that the slot map says, whatever storage sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from blindsight.errors import DataLoss
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.slots import unmarked
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.storage import StoredItem

# Of a reading, while others write.
_ATTEMPTS = 8

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class FoundItem:
    """A live item.

    Attributes:
        key: what its sealed things are bound to.
        stored: what storage says of it.
        metadata: its id and name.
    """

    key: ItemKey
    stored: StoredItem
    metadata: ItemMetadata


class Items:
    """The items of collections.

    Args:
        vault: refreshes slot maps.
        storage: has the sealed things.
    """

    def __init__(self, vault: Vault, storage: StorageClient) -> None:
        self._vault = vault
        self._storage = storage

    async def steady(self, collection: OpenCollection, read: Callable[[], Awaitable[_Result]]) -> _Result:
        """Returns what `read` returns; reads again if that failed because others had written.

        Raises:
            DataLoss: if `read` raises it although the slot map is up to date.
        """
        for _ in range(_ATTEMPTS):
            before = collection.slots.sequence
            try:
                return await read()
            except DataLoss:
                await self._vault.refresh(collection)
                if collection.slots.sequence == before:
                    raise
        return await read()

    async def find(self, collection: OpenCollection, handles: Sequence[bytes]) -> dict[bytes, FoundItem]:
        """Returns items by handle; those that do not exist are left out.

        Raises:
            DataLoss: if storage hides one, shows one that was deleted, or has changed its metadata.
        """
        return await self.steady(collection, partial(self._find, collection, handles, handles))

    async def find_intact(
        self, collection: OpenCollection, handles: Sequence[bytes], most: int, among: Sequence[bytes] = ()
    ) -> tuple[dict[bytes, FoundItem], dict[bytes, str]]:
        """Returns items by handle, and the reasons of those whose records are damaged, lost or hidden.

        Those that do not exist are in neither.

        Args:
            among: what storage is asked for, the handles and others beside them; none: the handles.

        Raises:
            DataLoss: if more than `most` of what is asked for are damaged, or the collection itself is.
        """
        wanted = set(handles)

        def read(part: Sequence[bytes]) -> Awaitable[dict[bytes, FoundItem]]:
            return self._find(collection, [one for one in part if one in wanted], part)

        found, damaged = await self.apart(collection, among or handles, read, most)
        return found, {handle: why for handle, why in damaged.items() if handle in wanted}

    async def apart(
        self,
        collection: OpenCollection,
        handles: Sequence[bytes],
        read: Callable[[Sequence[bytes]], Awaitable[dict[bytes, _Result]]],
        most: int,
    ) -> tuple[dict[bytes, _Result], dict[bytes, str]]:
        """Returns what `read` returns of items, and of those that are damaged the reason, by handle.

        What cannot be read as a whole is halved, until what is damaged is alone.

        Raises:
            DataLoss: if more than `most` are damaged, or the collection itself is.
        """
        found: dict[bytes, _Result] = {}
        damaged: dict[bytes, str] = {}
        # In their own order: that of a ranking would tell storage, half by half, which are the best.
        waiting = [sorted(handles)] if handles else []
        while waiting:
            part = waiting.pop()
            try:
                found |= await self.steady(collection, partial(read, part))
            except DataLoss as error:
                await self._vault.refresh(collection)  # raises if all of it is damaged
                middle = len(part) // 2
                if middle:
                    waiting += [part[middle:], part[:middle]]
                    continue
                damaged[part[0]] = error.message
                if len(damaged) > most:
                    raise
        return found, damaged

    async def _find(
        self, collection: OpenCollection, handles: Sequence[bytes], asked: Sequence[bytes]
    ) -> dict[bytes, FoundItem]:
        found = await self._storage.get_items(collection.record.collection_id, asked)
        keys = keys_of(collection, asked)
        if found.keys() != keys.keys():
            raise DataLoss("storage hides items of the collection, or sent some that are not there")

        def opened() -> dict[bytes, FoundItem]:
            return {
                handle: FoundItem(
                    keys[handle], item, collection.open_metadata(keys[handle], item.sealed_metadata)
                )
                for handle in set(handles) & found.keys()
                for item in (found[handle],)
            }

        # Of a hundred thousand hits, which take longer than others should wait.
        return await asyncio.to_thread(opened)


def keys_of(collection: OpenCollection, handles: Sequence[bytes]) -> dict[bytes, ItemKey]:
    """Returns the keys of those of these items that are live, by handle, as the slot map has them."""
    versions = collection.slots.versions(handles)
    return {handle: ItemKey(handle, unmarked(versions[handle])) for handle in handles if handle in versions}
