"""The items of collections with their metadata, as the keyholder has them: found, filtered and listed.

Storage has the same, sealed; it is asked only for what is not here yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.slots import SlotMap, unmarked
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import Items
from blindsight.wire.metadata import Filter
from services.keyholder.catalog.listing import Listing, Page, Position
from services.keyholder.catalog.loading import Loading, Report
from services.keyholder.catalog.replaced import Replaced
from services.keyholder.catalog.rows import Rows, Selection
from services.keyholder.catalog.store import WORD_BYTES, CatalogStore, Entry
from services.keyholder.catalog.vector_names import VectorNames

# Items that are asked for at once: their metadata fit into one message.
_FETCH_ITEMS = 1000
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _State:
    """What is in memory of one collection.

    Attributes:
        rows: None until they are loaded.
        damaged: by handle the version of metadata in storage that do not open, and why.
        listing: of the newest slot map that was listed.
        names: of vectors; None until a search asks for one.
        loading: of what filters are computed on; None until it has begun.
        replaced: the metadata that items had until lately.
        behind: handles of items of which the file has no entry or an older one, since its disk was full.
    """

    rows: Rows | None = None
    damaged: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)
    listing: Listing | None = None
    names: VectorNames | None = None
    loading: Loading | None = None
    replaced: Replaced = field(default_factory=Replaced)
    behind: set[bytes] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Catalog:
    """The catalog of all collections of one owner.

    Args:
        store: its file.
        items: reads what is missing from storage.
    """

    def __init__(self, store: CatalogStore, items: Items) -> None:
        self._store = store
        self._items = items
        self._states: dict[bytes, _State] = {}
        # Ids of collections that are gone, and still in the file.
        self._deleted: set[bytes] = set()

    async def put(self, collection: OpenCollection, items: Sequence[NewItem]) -> None:
        """Adds items that storage has taken; fails no write, for what is not here is read from storage."""
        entries = [
            Entry(item.handle, unmarked(item.version), item.metadata) for item in items if item.metadata
        ]
        await self._put(collection, entries)

    async def changed(self, collection: OpenCollection, metadata: dict[bytes, ItemMetadata]) -> None:
        """Notes other metadata of items, by handle, that storage has taken."""
        versions = collection.slots.versions(list(metadata))
        await self._put(
            collection,
            [Entry(one, unmarked(versions[one]), metadata[one]) for one in metadata if one in versions],
        )

    async def _put(self, collection: OpenCollection, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with suppress(LookupError, ResourceExhausted):
            await self._keep(collection, entries)
            self._put_rows(collection, entries)

    async def _keep(self, collection: OpenCollection, entries: Sequence[Entry]) -> None:
        """Puts entries into the file; those in whose places they come stay known to searches under way.

        Raises:
            ResourceExhausted: if the disk is full.
            LookupError: if the file was damaged, and is empty now.
        """
        collection_id, state = collection.record.collection_id, self._state(collection)
        handles = [entry.handle for entry in entries]
        if state.rows is not None and handles:
            words = np.frombuffer(b"".join(handle[:WORD_BYTES] for handle in handles), "<u8")
            handles = [handles[index] for index in np.flatnonzero(state.rows.rows_with(words) >= 0)]
        older = await asyncio.to_thread(self._store.find, collection_id, handles)
        for handle, entry in older.items():
            state.replaced.put(handle, entry.version, entry.metadata)
        await asyncio.to_thread(self._store.put, collection_id, entries)

    def _put_rows(self, collection: OpenCollection, entries: Iterable[Entry]) -> None:
        rows, names = self._state(collection).rows, self._state(collection).names
        if rows is not None:
            for entry in entries:
                word, version = _word(entry.handle), int.from_bytes(entry.version, "little")
                rows.put(word, version, entry.metadata.values)
                if names is not None:
                    names.put(entry)

    async def remove(self, collection: OpenCollection, handles: Sequence[bytes]) -> None:
        """Forgets items that storage has deleted."""
        await self._remove(collection.record.collection_id, [handle[:WORD_BYTES] for handle in handles])

    async def _remove(self, collection_id: bytes, words: Sequence[bytes]) -> None:
        # What stays in the file, whose disk is full, is found to be gone after the next start.
        with suppress(LookupError, ResourceExhausted):
            await asyncio.to_thread(self._store.remove, collection_id, words)

    async def reach(self, collection: OpenCollection) -> Rows:
        """Reads what the slot map has and the catalog has not; returns the rows.

        Raises:
            DataLoss: if storage's state of the collection is not what was written.
            Unavailable: if storage does not answer.
        """
        return await self._whole(collection, partial(self._reach, collection))

    async def _whole(self, collection: OpenCollection, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Returns what `work` returns; once more if it found the file damaged, which is empty since."""
        try:
            return await work()
        except LookupError:
            await self._drop(collection.record.collection_id)
            return await work()

    def _state(self, collection: OpenCollection) -> _State:
        return self._state_of(collection.record.collection_id)

    def _state_of(self, collection_id: bytes) -> _State:
        return self._states.setdefault(collection_id, _State())

    async def _drop(self, collection_id: bytes) -> None:
        state = self._states.pop(collection_id, None)
        if state is not None and state.loading is not None:
            await state.loading.close()

    async def preload(self) -> None:
        """Loads the metadata of all collections, without haste, so that the first filters need not wait.

        It asks nobody but the catalog's own file.  What cannot be loaded is left to the first filter.
        """
        with suppress(LookupError, ResourceExhausted):
            for collection_id in await asyncio.to_thread(self._store.collections):
                state = self._state_of(collection_id)
                async with state.lock:
                    rows = await self._rows(collection_id, state)
                with suppress(DataLoss):
                    await self._loading(collection_id, state, rows).end()

    async def _rows(self, collection_id: bytes, state: _State) -> Rows:
        if state.rows is None:
            state.rows = Rows(*await asyncio.to_thread(self._store.versions, collection_id))
        return state.rows

    def _loading(self, collection_id: bytes, state: _State, rows: Rows) -> Loading:
        """Returns the loading of metadata that is under way, or else a new one."""
        if state.loading is None or (state.loading.over and not rows.has_columns):
            state.loading = Loading(self._store, collection_id, rows)
        return state.loading

    async def _reach(self, collection: OpenCollection) -> Rows:
        state = self._state(collection)
        async with state.lock:
            return await self._reach_with(collection, state)

    async def _reach_with(self, collection: OpenCollection, state: _State) -> Rows:
        collection_id = collection.record.collection_id
        rows = await self._rows(collection_id, state)
        missing = await asyncio.to_thread(rows.reach, collection.slots)
        missing = [handle for handle in missing if not self._is_damaged(collection, state, handle)]
        for start in range(0, len(missing), _FETCH_ITEMS):
            await self._fetch(collection, state, missing[start : start + _FETCH_ITEMS])
        if missing:
            await asyncio.to_thread(rows.reach, collection.slots)
        await self._catch_up(collection, state)
        gone = await asyncio.to_thread(rows.stale)
        if len(gone):
            await self._remove(collection_id, [word.tobytes() for word in gone])
        return rows

    async def _catch_up(self, collection: OpenCollection, state: _State) -> None:
        """Puts items into the file that found no room there, until there is none again."""
        waiting, state.behind = list(collection.slots.versions(list(state.behind))), set()
        for start in range(0, len(waiting), _FETCH_ITEMS):
            await self._fetch(collection, state, waiting[start : start + _FETCH_ITEMS])
            if state.behind:
                state.behind.update(waiting[start:])
                return

    @staticmethod
    def _is_damaged(collection: OpenCollection, state: _State, handle: bytes) -> bool:
        known = state.damaged.get(handle)
        return known is not None and known[0] == collection.slots.versions([handle]).get(handle)

    async def _fetch(
        self, collection: OpenCollection, state: _State, handles: Sequence[bytes]
    ) -> dict[bytes, ItemMetadata]:
        """Reads items from storage into the catalog, and returns their metadata by handle."""
        found, damaged = await self._items.find_intact(collection, handles, len(handles))
        entries = [Entry(handle, item.key.version, item.metadata) for handle, item in found.items()]
        with suppress(LookupError):
            try:
                await self._keep(collection, entries)
            except ResourceExhausted:
                state.behind.update(found)
        # An item that changed since has its new entry, or will be given it.
        now = collection.slots.versions(handles)
        self._put_rows(
            collection, (one for one in entries if unmarked(now.get(one.handle, b"")) == one.version)
        )
        versions = collection.slots.versions(list(damaged))
        state.damaged |= {one: (versions[one], why) for one, why in damaged.items() if one in versions}
        return {handle: item.metadata for handle, item in found.items()}

    async def find(
        self, collection: OpenCollection, handles: Collection[bytes]
    ) -> dict[bytes, ItemMetadata | str]:
        """Returns what is known of items that are there, by handle: their metadata, or why nothing is.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        versions = collection.slots.versions(list(handles))
        sealed = [handle for handle, version in versions.items() if unmarked(version)]
        found: dict[bytes, ItemMetadata | str] = {
            handle: collection.open_metadata(ItemKey(handle, b""), b"")
            for handle, version in versions.items()
            if not unmarked(version)
        }
        if sealed:
            found |= await self._whole(collection, partial(self._find, collection, sealed))
        return found

    async def find_at(
        self, collection: OpenCollection, handles: Collection[bytes], slots: SlotMap
    ) -> dict[bytes, ItemMetadata | str]:
        """Returns what was known of items at an older slot map, by handle; those that are gone are left out.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        found = await self.find(collection, handles)
        if slots is collection.slots:
            return found
        made: dict[bytes, ItemMetadata | str] = {
            handle: why for handle, why in found.items() if isinstance(why, str) and slots.versions([handle])
        }
        return made | await self.known_at(collection, list(found), slots)

    async def known_at(
        self, collection: OpenCollection, handles: Sequence[bytes], slots: SlotMap
    ) -> dict[bytes, ItemMetadata]:
        """Returns the metadata that items had at a slot map, by handle, if they are here; asks nobody."""
        state, wanted = self._state(collection), slots.versions(handles)
        there: dict[bytes, Entry] = {}
        with suppress(LookupError):
            there = await asyncio.to_thread(self._store.find, collection.record.collection_id, handles)
        made: dict[bytes, ItemMetadata] = {}
        for handle, version in wanted.items():
            entry, one = there.get(handle), unmarked(version)
            if not one:
                made[handle] = collection.open_metadata(ItemKey(handle, b""), b"")
            elif entry is not None and entry.version == one:
                made[handle] = entry.metadata
            elif (older := state.replaced.get(handle, one)) is not None:
                made[handle] = older
        return made

    async def _find(
        self, collection: OpenCollection, sealed: Sequence[bytes]
    ) -> dict[bytes, ItemMetadata | str]:
        await self._reach(collection)
        found: dict[bytes, ItemMetadata | str] = {}
        versions = collection.slots.versions(sealed)
        damaged = self._state(collection).damaged
        there = await self.known(collection, sealed)
        # Of items that change at this moment: whoever found them must be told what they are.
        if changing := [one for one in versions if one not in there and one not in damaged]:
            there |= await self._fetch(collection, self._state(collection), changing)
            versions = collection.slots.versions(sealed)
        for handle in versions:
            if handle in there:
                found[handle] = there[handle]
            elif handle in damaged:
                found[handle] = f"item of handle {handle.hex()}: {damaged[handle][1]}"
        return found

    async def known(self, collection: OpenCollection, handles: Sequence[bytes]) -> dict[bytes, ItemMetadata]:
        """Returns the metadata of those of these items that are here, by handle; asks nobody."""
        versions = collection.slots.versions(handles)
        try:
            there = await asyncio.to_thread(self._store.find, collection.record.collection_id, handles)
        except LookupError:
            return {}
        return {
            handle: entry.metadata
            for handle, entry in there.items()
            if entry.version == unmarked(versions.get(handle, b""))
        }

    def look_again(self, collection: OpenCollection) -> None:
        """Lets metadata that did not open be read again: they may have been mended."""
        self._state(collection).damaged.clear()

    async def select(
        self, collection: OpenCollection, wanted: Filter | None, report: Report | None = None
    ) -> Selection:
        """Computes which items pass a filter; None: all.

        Args:
            report: is called while metadata are loaded, which the first filters wait for.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        return await self._whole(collection, partial(self._select, collection, wanted, report))

    async def _select(
        self, collection: OpenCollection, wanted: Filter | None, report: Report | None = None
    ) -> Selection:
        rows = await self._reach(collection)
        if wanted is not None and not rows.has_columns:
            state = self._state(collection)
            await self._loading(collection.record.collection_id, state, rows).wait(report)
        return await asyncio.to_thread(rows.passing, wanted)

    async def vector_names(self, collection: OpenCollection) -> VectorNames:
        """Returns the names of a collection's vectors.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        return await self._whole(collection, partial(self._vector_names, collection))

    async def _vector_names(self, collection: OpenCollection) -> VectorNames:
        await self._reach(collection)
        state = self._state(collection)
        async with state.lock:
            if state.names is None:
                state.names = VectorNames(collection.parts)
                try:
                    entries = self._store.with_vectors(collection.record.collection_id)
                    await asyncio.to_thread(state.names.load, entries)
                except BaseException:
                    state.names = None
                    raise
            return state.names

    async def handles(self, collection: OpenCollection, wanted: Filter | None) -> list[bytes]:
        """Returns the handles of all items that pass a filter.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        selection, found = await self.select(collection, wanted), list[bytes]()
        for key, segment in collection.slots.segments.items():
            passing = selection.of(key, segment) & segment.items
            found += [handle.tobytes() for handle in segment.handles[passing]]
        return found

    async def count(self, collection: OpenCollection, wanted: Filter | None) -> int:
        """Returns the number of items that pass a filter.

        Raises:
            DataLoss, Unavailable: see `reach`.
        """
        selection, slots = await self.select(collection, wanted), collection.slots
        return sum(
            int((selection.of(key, segment) & segment.items).sum()) for key, segment in slots.segments.items()
        )

    async def page(
        self, collection: OpenCollection, wanted: Filter | None, position: Position, limit: int
    ) -> Page:
        """Returns items in an order, from a position on.

        Raises:
            DataLoss, Unavailable: see `reach`.
            ResourceExhausted: if the file, which has the order, lacks items since its disk is full.
        """
        return await self._whole(collection, partial(self._page, collection, wanted, position, limit))

    async def _page(
        self, collection: OpenCollection, wanted: Filter | None, position: Position, limit: int
    ) -> Page:
        selection = await self._select(collection, wanted)
        state = self._state(collection)
        if state.behind:
            raise ResourceExhausted(
                f"the keyholder's disk is full: {len(state.behind):,} items are not in their order yet"
            )
        if state.listing is None or state.listing.slots is not collection.slots:
            state.listing = Listing(self._store, collection)
        return await asyncio.to_thread(state.listing.page, position, limit, selection)

    async def forget(self, collection_id: bytes) -> None:
        """Removes what is known of a collection that was deleted."""
        self._deleted.add(collection_id)
        await self.emptied(collection_id)

    async def emptied(self, collection_id: bytes) -> None:
        """Removes what is known of the items of a collection."""
        await self._drop(collection_id)
        with suppress(LookupError, ResourceExhausted):
            # Of those too for which the disk had no room before: what is removed is written down first.
            for one in [collection_id, *self._deleted]:
                await asyncio.to_thread(self._store.forget, one)
                self._deleted.discard(one)

    async def close(self) -> None:
        """Stops loading, and closes the file."""
        for collection_id in list(self._states):
            await self._drop(collection_id)
        for collection_id in list(self._deleted)[:1]:
            await self.emptied(collection_id)
        await asyncio.to_thread(self._store.close)


def _word(handle: bytes) -> int:
    return int.from_bytes(handle[:WORD_BYTES], "little")
