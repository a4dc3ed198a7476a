"""Reads all that storage has of a collection, and says what is not as it was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from blindsight.errors import Conflict, DataLoss, NotFound
from blindsight.packing.segments import SegmentId
from blindsight.parameters import ParameterSet
from blindsight.trusted import embedders
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.vault.items import FoundItem, Items, keys_of
from blindsight.trusted.vault.vault import OpenCollection, Vault
from blindsight.wire.collections import CheckProgress, Damage

# Items that are looked up at once.
_PAGE = 32
MOST_DAMAGES = 100
_CONFLICTS = 16


class Check:
    """A check of one collection.  It changes nothing, and others may write meanwhile.

    Args:
        vault: refreshes the slot map.
        storage: is read.
        items: read metadata.
        collection: the collection.
    """

    def __init__(
        self, vault: Vault, storage: StorageClient, items: Items, collection: OpenCollection
    ) -> None:
        self._vault = vault
        self._storage = storage
        self._items = items
        self._collection = collection
        self._state = CheckProgress()

    async def run(self) -> AsyncIterator[CheckProgress]:
        """Reads every batch, and every sealed thing of every item; yields progress.

        Raises:
            Conflict: if others write again and again.
            Unavailable: if storage does not answer.
        """
        segments = list(self._collection.slots.segments)
        handles = list(_sealed(self._collection))
        self._state = CheckProgress(segments_total=len(segments), items_total=len(handles))
        yield self._state
        for key in segments:
            await self._damaged(f"segment {key}", partial(self._segment, key))
            self._state = replace(self._state, segments_done=self._state.segments_done + 1)
            yield self._state
        for start in range(0, len(handles), _PAGE):
            page = handles[start : start + _PAGE]
            await self._page(page)
            self._state = replace(self._state, items_done=self._state.items_done + len(page))
            yield self._state

    async def _damaged(self, what: str, read: Callable[[], Awaitable[None]]) -> None:
        """Reads something, and notes it if it is damaged."""
        try:
            await self._items.steady(self._collection, read)
        except DataLoss as error:
            state = self._state
            damages = (*state.damages, Damage(what, error.message))[:MOST_DAMAGES]
            self._state = replace(state, damaged=state.damaged + 1, damages=damages)

    async def _segment(self, key: SegmentId) -> None:
        for _ in range(_CONFLICTS):
            slots = self._collection.slots
            if key not in slots.segments:  # retired since
                return
            try:
                await self._storage.read_segments(self._collection.record.collection_id, slots, [key])
            except Conflict:
                await self._vault.refresh(self._collection)
            else:
                return
        raise Conflict("the collection is written to again and again; try again")

    async def _page(self, handles: Sequence[bytes]) -> None:
        """Checks items; halves what cannot be read as a whole, until what is damaged is alone."""
        try:
            found = await self._items.find(self._collection, handles)
        except DataLoss:
            if len(handles) == 1:
                await self._damaged(f"item of handle {handles[0].hex()}", partial(self._look_up, handles))
                return
            middle = len(handles) // 2
            await self._page(handles[:middle])
            await self._page(handles[middle:])
            return
        for item in found.values():
            await self._damaged(f"item {item.metadata.id}", partial(self._contents, item))

    async def _look_up(self, handles: Sequence[bytes]) -> None:
        await self._items.find(self._collection, handles)

    async def _contents(self, item: FoundItem) -> None:
        collection, handle = self._collection, item.key.handle
        identity = collection.record.collection_id
        key = keys_of(collection, [handle]).get(handle)
        if key is None or collection.config.embedder == embedders.NONE:
            return  # deleted since, or a vector
        try:
            original = await self._storage.read_original(identity, handle)
            await asyncio.to_thread(collection.open_original, key, original)
            if item.stored.planes_size_bytes and isinstance(collection.parameters, ParameterSet):
                planes = self._storage.read_planes(identity, handle, collection.parameters)
                async with aclosing(planes) as parts:
                    async for _ in parts:
                        pass
        except NotFound as error:
            raise DataLoss(f"storage has lost a part of it: {error.message}") from error
        if collection.config.embedder == embedders.SIFT:
            sealed = await self._storage.read_keypoints(identity, [handle])
            if handle not in sealed:
                raise DataLoss("storage has lost its keypoints")
            collection.open_keypoints(key, sealed[handle])


def _sealed(collection: OpenCollection) -> Iterator[bytes]:
    """Yields the handles of live items that have more than a vector."""
    for segment in collection.slots.segments.values():
        packed = segment.handles[segment.live].tobytes()
        for start in range(0, len(packed), HANDLE_BYTES):
            handle = packed[start : start + HANDLE_BYTES]
            if collection.bare_item(handle) is None:
                yield handle
