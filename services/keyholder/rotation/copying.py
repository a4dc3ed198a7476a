"""The copying of collections from one key set to another, while the first one is used.

A collection's slot map says what is there: which items, where, and in which version.  The journal says the
same of what was copied.  What differs is copied, again and again, until nothing does; so a copy follows its
collection through every kind of write, and through every interruption.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from blindsight.errors import AlreadyExists, Conflict, DataLoss, NotFound
from blindsight.packing.columns import Floats
from blindsight.packing.segments import SegmentId
from blindsight.trusted import embedders
from blindsight.trusted.ingest.pipeline import BATCH_BYTES
from blindsight.trusted.records import NewItem, NewPlanes
from blindsight.trusted.slots import SlotMap, marked, unmarked
from blindsight.trusted.vault.batching import live_rows
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import FoundItem
from blindsight.trusted.vault.repack import decrypted
from services.keyholder.operations.side import Side
from services.keyholder.rotation.journal import Copied, Journal
from services.keyholder.rotation.names import interim

# Of a reading, while others write; the last ones keep writers of this process out.
_ATTEMPTS, _ALONE = 8, 4
# Read and opened at once.
_FILES_AT_ONCE = 8
# Segments whose rows are kept: one may be read for the sake of a few items, again and again.
_KEPT_SEGMENTS = 3
_PLACE = struct.Struct("<BII8s")


@dataclass(frozen=True, slots=True)
class _Source:
    """An item as the slot map of its collection has it.

    Attributes:
        rows: segments and slots of its vectors, in their order.
        lost: which of its further vectors are quarantined.
        version: with the mark of a quarantined item.
        place: see `_place`.
    """

    handle: bytes
    rows: tuple[tuple[SegmentId, int], ...]
    lost: tuple[bool, ...]
    version: bytes
    place: bytes
    undescribed: bool

    @property
    def sealed(self) -> bool:
        return bool(unmarked(self.version))


class Copying:
    """Copies collections.

    Args:
        old, new: both key sets.
        journal: what was copied.
        copied: called with the number of items after each write of a copy.
    """

    def __init__(self, old: Side, new: Side, journal: Journal, copied: Callable[[int], None]) -> None:
        self._old = old
        self._new = new
        self._journal = journal
        self._copied = copied
        self._known: dict[bytes, Copied] = {}
        # Decrypted rows of the collection that is being copied: [fill, row dimension].
        self._segments: dict[SegmentId, Floats] = {}

    async def twin(self, collection: OpenCollection) -> OpenCollection:
        """Returns the copy of a collection; makes an empty one if there is none."""
        collection_id = collection.record.collection_id
        twins = await asyncio.to_thread(self._journal.twins)
        if (twin_id := twins.get(collection_id)) is not None:
            return await self._new.vault.get_by_id(twin_id)
        # Under a name that nobody would give: the old names are given when nothing is written any more.
        key = collection.content_key.reveal_secret().hex()
        config = replace(collection.config, name=interim(collection), aliases={}, content_key=key)
        try:
            made = await self._new.vault.create(config)
        except AlreadyExists:  # by a call whose answer was lost
            await self.tidy()
            made = await self._new.vault.create(config)
        await asyncio.to_thread(self._journal.add_twin, collection_id, made.record.collection_id)
        return made

    async def tidy(self) -> None:
        """Removes what is under the new keys and was never noted."""
        twins = await asyncio.to_thread(self._journal.twins)
        for one in await self._new.vault.all():
            if one.record.collection_id not in twins.values():
                await self._new.vault.delete(one.config.name)

    async def drop(self, collection_id: bytes, twin_id: bytes) -> None:
        """Removes the copy of a collection that was deleted."""
        try:
            twin = await self._new.vault.get_by_id(twin_id)
        except NotFound:
            pass
        else:
            await self._new.vault.delete(twin.config.name)
        self._known.pop(collection_id, None)
        await asyncio.to_thread(self._journal.remove_twin, collection_id)

    async def follow(self, collection: OpenCollection) -> int:
        """Brings the copy of a collection to the state that it has now; returns how many items differed.

        Raises:
            NotFound: if the collection was deleted.
            DataLoss: if something of it is damaged: it must be repaired first.
        """
        try:
            return await self._follow(collection)
        except BaseException:
            # What was copied last may not be noted: it is looked at again.
            self._known.pop(collection.record.collection_id, None)
            raise

    async def _follow(self, collection: OpenCollection) -> int:
        await self._old.vault.refresh(collection)
        twin = await self.twin(collection)
        async with twin.lock:
            known = await self._copied_of(collection, twin)
            if twin.config.max_norm != collection.config.max_norm:  # which the first vectors set
                norm = collection.config.max_norm
                await self._new.writer.configure(twin, lambda config: replace(config, max_norm=norm))
            self._segments.clear()
            slots = collection.slots
            gone = await asyncio.to_thread(_gone, known, slots)
            await self._remove(collection, twin, known, gone)
            differing = len(gone)
            for group in _groups(_changed(slots, known), twin.layout.main.capacity):
                again = [one.handle for one in group if one.handle in known]
                await self._remove(collection, twin, known, again)
                await self._copy(collection, twin, known, group)
                differing += len(group)
        return differing

    async def _copied_of(self, collection: OpenCollection, twin: OpenCollection) -> Copied:
        """Returns what was copied of a collection; after a start, whatever else is in the copy is removed."""
        collection_id = collection.record.collection_id
        if collection_id not in self._known:
            await self._new.vault.refresh(twin)
            known = await asyncio.to_thread(self._journal.items, collection_id)
            there = set(_handles(twin.slots))
            noted = set(live_rows(twin.slots, [copy for _, copy in known.values()]))
            if lost := [handle for handle, (_, copy) in known.items() if copy not in there]:
                await asyncio.to_thread(self._journal.remove_items, collection_id, lost)
                for handle in lost:
                    del known[handle]
            if unknown := there - noted:
                await self._new.writer.delete(twin, list(unknown))
            self._known[collection_id] = known
        return self._known[collection_id]

    async def _remove(
        self, collection: OpenCollection, twin: OpenCollection, known: Copied, handles: Sequence[bytes]
    ) -> None:
        if not handles:
            return
        await self._new.writer.delete(twin, [known[handle][1] for handle in handles])
        await asyncio.to_thread(self._journal.remove_items, collection.record.collection_id, handles)
        for handle in handles:
            del known[handle]
        self._copied(len(handles))

    async def _copy(
        self, collection: OpenCollection, twin: OpenCollection, known: Copied, group: Sequence[_Source]
    ) -> None:
        """Copies items, but for those that are written to meanwhile: they are found to be different again."""
        rows = await self._rows(collection, group)
        batch: list[tuple[_Source, NewItem]] = []
        held = 0
        async for source, item in self._items(collection, twin, [one for one in group if one.handle in rows]):
            batch.append((source, item))
            held += item.held_bytes
            if held >= BATCH_BYTES:
                await self._store(collection, twin, known, batch, rows)
                batch, held = [], 0
        await self._store(collection, twin, known, batch, rows)

    async def _store(
        self,
        collection: OpenCollection,
        twin: OpenCollection,
        known: Copied,
        batch: Sequence[tuple[_Source, NewItem]],
        rows: Mapping[bytes, Floats],
    ) -> None:
        """Writes items and all of their rows to the copy, and notes them."""
        if not batch:
            return
        values = np.concatenate([rows[source.handle] for source, _ in batch])
        items = [one for source, item in batch for one in _with_further(twin, source, item)]
        start = 0
        for place in list(twin.plan(twin.slots, len(items))):
            stop = start + place.count
            await self._new.writer.put(twin, place, values[start:stop], items[start:stop], {})
            start = stop
        noted = {source.handle: (source.place, item.handle) for source, item in batch}
        await asyncio.to_thread(self._journal.add_items, collection.record.collection_id, noted)
        known |= noted
        self._copied(len(batch))

    async def _rows(self, collection: OpenCollection, group: Sequence[_Source]) -> dict[bytes, Floats]:
        """Returns the rows of items by handle, [vectors, row dimension]; those that have moved are left out.

        Raises:
            Conflict: if other processes write again and again.
            DataLoss: if storage has damaged or lost some.
        """
        for attempt in range(_ATTEMPTS + _ALONE):
            alone = collection.lock if attempt >= _ATTEMPTS else nullcontext()
            async with alone:
                slots = collection.slots
                there = [one for one in group if _is_there(slots, one)]
                wanted = {key for one in there for key, slot in one.rows if not self._has(key, slot)}
                try:
                    await self._read(collection, slots, wanted)
                except Conflict:
                    await self._old.vault.refresh(collection)
                    continue
                found = {
                    one.handle: np.stack([self._segments[key][slot] for key, slot in one.rows])
                    for one in there
                }
            while len(self._segments) > _KEPT_SEGMENTS:
                del self._segments[next(iter(self._segments))]
            return found
        raise Conflict("the collection is written to again and again; try again")

    def _has(self, key: SegmentId, slot: int) -> bool:
        return key in self._segments and slot < len(self._segments[key])

    async def _read(self, collection: OpenCollection, slots: SlotMap, wanted: Collection[SegmentId]) -> None:
        if not wanted:
            return
        blocks = await self._old.storage.read_segments(collection.record.collection_id, slots, wanted)
        for key in wanted:
            rows = await decrypted(self._old.crypto, collection, key.region, blocks[key])
            self._segments.pop(key, None)  # the newest stand last
            self._segments[key] = rows[: slots.segments[key].fill]

    async def _items(
        self, collection: OpenCollection, twin: OpenCollection, group: Sequence[_Source]
    ) -> AsyncIterator[tuple[_Source, NewItem]]:
        """Opens items and seals them for the copy; leaves out those that are written to meanwhile."""
        sealed = [one.handle for one in group if one.sealed]
        found = await self._old.items.find(collection, sealed) if sealed else {}
        bare = [one for one in group if not one.sealed]
        ids = await asyncio.to_thread(_bare_ids, collection, bare)
        for source, handle in zip(bare, twin.handles(ids), strict=True):
            yield source, NewItem(handle, version=source.version, vectors=len(source.rows))
        same = [
            one
            for one in group
            if one.handle in found and found[one.handle].key.version == unmarked(one.version)
        ]
        for start in range(0, len(same), _FILES_AT_ONCE):
            some = same[start : start + _FILES_AT_ONCE]
            works = (self._item(collection, twin, one, found[one.handle]) for one in some)
            for source, item in zip(some, await asyncio.gather(*works), strict=True):
                if item is not None:
                    yield source, item

    async def _item(
        self, collection: OpenCollection, twin: OpenCollection, source: _Source, found: FoundItem
    ) -> NewItem | None:
        try:
            return await self._opened(collection, twin, source, found)
        except (DataLoss, NotFound) as error:
            await self._old.vault.refresh(collection)
            if not _is_there(collection.slots, source):
                return None
            raise DataLoss(
                f"item {found.metadata.id!r} of collection {collection.config.name!r}: {error.message}"
            ) from error

    async def _opened(
        self, collection: OpenCollection, twin: OpenCollection, source: _Source, found: FoundItem
    ) -> NewItem:
        place, old, stored = collection.record.collection_id, found.key, found.stored
        (handle,) = twin.handles([found.metadata.id])
        key = ItemKey.new(handle, twin.tags if source.undescribed else None)
        original = keypoints = b""
        planes = None
        if stored.original_size_bytes:
            sealed = await self._old.storage.read_original(place, old.handle)
            original = await asyncio.to_thread(_resealed, collection, old, sealed, twin, key)
        if collection.config.embedder == embedders.SIFT:
            attached = (await self._old.storage.read_keypoints(place, [old.handle])).get(old.handle)
            if attached is None:
                raise DataLoss("storage has lost its keypoints")
            keypoints = twin.seal_keypoints(key, collection.open_keypoints(old, attached))
        if stored.planes_size_bytes:
            planes = NewPlanes(*await self._old.planes.tiles(collection, old))
        return NewItem(
            handle,
            twin.seal_metadata(key, found.metadata),
            original,
            planes,
            keypoints,
            marked(key.version) if source.version != unmarked(source.version) else key.version,
            found.metadata,
            len(source.rows),
        )


def _resealed(
    collection: OpenCollection, old: ItemKey, sealed: bytes, twin: OpenCollection, new: ItemKey
) -> bytes:
    return twin.seal_original(new, collection.open_original(old, sealed))


def _bare_ids(collection: OpenCollection, sources: Sequence[_Source]) -> list[str]:
    return [collection.open_metadata(ItemKey(one.handle, b""), b"").id for one in sources]


def _with_further(twin: OpenCollection, source: _Source, item: NewItem) -> Iterator[NewItem]:
    """Yields an item, and its further vectors as such that are nothing but a handle, with their marks."""
    yield item
    if len(source.rows) > 1:
        handles = twin.parts.handles(item.handle, len(source.rows) - 1)
        for handle, quarantined in zip(handles, source.lost, strict=True):
            yield NewItem(handle, version=marked(b"") if quarantined else b"")


def _groups(sources: Iterable[_Source], capacity: int) -> Iterator[list[_Source]]:
    """Splits items into groups whose rows fill a segment."""
    group: list[_Source] = []
    rows = 0
    for source in sources:
        if group and rows + len(source.rows) > capacity:
            yield group
            group, rows = [], 0
        group.append(source)
        rows += len(source.rows)
    if group:
        yield group


def _is_there(slots: SlotMap, source: _Source) -> bool:
    """Returns whether an item is where it was, and in that version."""
    key, slot = source.rows[0]
    segment = slots.segments.get(key)
    return (
        segment is not None
        and segment.handles[slot].tobytes() == source.handle
        and segment.version(slot) == source.version
        and all(key in slots.segments for key, _ in source.rows)
    )


def _handles(slots: SlotMap) -> Iterator[bytes]:
    """Yields the handles of all live rows."""
    for segment in slots.segments.values():
        yield from (handle.tobytes() for handle in segment.handles[segment.live])


def _gone(known: Copied, slots: SlotMap) -> list[bytes]:
    """Returns the items that were copied and are not in a slot map."""
    return list(known.keys() - set(_handles(slots))) if known else []


def _changed(slots: SlotMap, known: Copied) -> Iterator[_Source]:
    """Yields the items of a slot map that were not copied as they are there, in the order of their places."""
    further: dict[bytes, dict[int, tuple[SegmentId, int, bool]]] = {}
    for key, segment in slots.segments.items():
        handles = [segment.handles[slot].tobytes() for slot in segment.further]
        for slot, (item, index) in zip(segment.further, _of(slots, handles), strict=True):
            further.setdefault(item, {})[index] = key, int(slot), bool(segment.quarantined[slot])
    for key, segment in sorted(slots.segments.items()):
        for slot in map(int, np.flatnonzero(segment.items)):
            handle, version = segment.handles[slot].tobytes(), segment.version(slot)
            more = [told for _, told in sorted(further.get(handle, {}).items())]
            lost = tuple(one[-1] for one in more)
            place = _place(key, slot, version) + bytes(lost)
            if known.get(handle, (b"",))[0] != place:
                rows = ((key, slot), *((region, at) for region, at, _ in more))
                yield _Source(handle, rows, lost, version, place, bool(segment.undescribed[slot]))


def _place(key: SegmentId, slot: int, version: bytes) -> bytes:
    """Returns what tells an item from another one of its handle: its version, and its place if it has none.

    A version is drawn anew whenever an item is stored; what has none was stored anew if it has moved.
    """
    if unmarked(version):
        return _PLACE.pack(0, 0, 0, version)
    return _PLACE.pack(1 + key.region, key.index, slot, version)


def _of(slots: SlotMap, handles: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Returns of which items further vectors are, and which of theirs."""
    items = slots.items_of(handles) if handles else {}
    return [items[handle] for handle in handles]
