"""Repacking: re-encryption of the tail, and of segments with deletions, into new segments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import AdditiveSet
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.records import NewItem
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.collections import RepackProgress

# Segments of the tail that a repack must free to be made in the background.
_LEAST_FREED = 4

# Segments, and the place and block of each of their batches.
_Batches = dict[SegmentId, list[tuple[Placement, bytes]]]


@dataclass(frozen=True, slots=True)
class _Group:
    """Segments that become one batch of a new segment, or are only retired if no item is left in them."""

    sources: list[SegmentId]
    items: int
    region: Region


class Repack:
    """The repacking of collections; each group of segments moves in one transaction.

    Args:
        vault, storage, crypto, writer: the keyholder's components.
    """

    def __init__(self, vault: Vault, storage: StorageClient, crypto: Crypto, writer: Writer) -> None:
        self._vault = vault
        self._storage = storage
        self._crypto = crypto
        self._writer = writer

    async def run(
        self, collection: OpenCollection, regions: Collection[Region] = tuple(Region)
    ) -> AsyncIterator[RepackProgress]:
        """Repacks all groups that are worth it and yields progress; an interruption loses nothing.

        Args:
            regions: only segments of these are moved.
        """
        async with collection.lock:
            await self._vault.refresh(collection)
            groups = plan(collection, regions)
            total = sum(group.items for group in groups)
            done = retired = written = 0
            yield RepackProgress(items_total=total)
            for group in groups:
                await self._move(collection, group)
                done += group.items
                retired += len(group.sources)
                written += bool(group.items)
                yield RepackProgress(done, total, retired, written)

    async def _move(self, collection: OpenCollection, group: _Group) -> None:
        segments = await self._storage.read_segments(
            collection.record.collection_id, collection.slots, group.sources
        )
        rows, handles = await self._read(collection, segments)
        index = collection.slots.next_index.get(group.region, 0)
        placement = Placement(group.region, index, 0, group.items)
        versions = collection.slots.versions(handles)
        items = [NewItem(handle, version=versions[handle]) for handle in handles]
        await self._writer.put(collection, placement, rows, items, segments)

    async def _read(self, collection: OpenCollection, segments: _Batches) -> tuple[Floats, list[bytes]]:
        """Decrypts the live rows of segments."""
        rows = [np.zeros((0, collection.layout.main.dimension))]
        handles: list[bytes] = []
        for key, blocks in segments.items():
            segment = collection.slots.segments[key]
            if not segment.live.any():
                continue
            found = await decrypted(self._crypto, collection, key.region, blocks)
            rows.append(found[: segment.fill][segment.live])
            packed = segment.handles[segment.live].tobytes()
            handles += [packed[at : at + HANDLE_BYTES] for at in range(0, len(packed), HANDLE_BYTES)]
        return np.concatenate(rows), handles


async def decrypted(
    crypto: Crypto, collection: OpenCollection, region: Region, blocks: list[tuple[Placement, bytes]]
) -> Floats:
    """Decrypts batches of one segment to rows [capacity, row dimension], zeros where they have none.

    Raises:
        DataLoss: if one is not the one that was written.
    """
    parameters = collection.parameters
    if isinstance(parameters, AdditiveSet):
        batches = [block for _, block in blocks]
        with answer_of("storage"):
            return await crypto.decrypt_columns(parameters, collection.layout.of(region), batches)
    return await crypto.decrypt_segment(collection.column_keys, region, blocks)


def due(collection: OpenCollection) -> tuple[Region, ...]:
    """Returns the regions that should be repacked in the background.

    All, if the tail would fill a main segment; the tail, if half of its segments with deletions could go.
    Then a repack moves no more items than were deleted, and main segments, which take long, stay.
    """
    slots, layout = collection.slots, collection.layout
    if layout.main == layout.tail:
        return ()
    if slots.live_rows(Region.TAIL) >= layout.main.capacity:
        return tuple(Region)
    groups = plan(collection, (Region.TAIL,))
    retired, written = sum(len(group.sources) for group in groups), sum(bool(group.items) for group in groups)
    freed = retired - written
    return (Region.TAIL,) if freed >= _LEAST_FREED and 2 * freed >= retired else ()


def plan(collection: OpenCollection, regions: Collection[Region] = tuple(Region)) -> list[_Group]:
    """Returns groups of segments to move: all with deletions, and the tail if it is worth a main segment.

    Under a scheme without a tail, also segments that were filled by several appends.
    """
    slots, layout = collection.slots, collection.layout
    # Without a tail, every append costs a ciphertext for each column, however small it is.
    scatters = collection.parameters.most_stride == 1
    deleted = [
        key
        for key, segment in slots.segments.items()
        if key.region in regions and (not segment.live.all() or (scatters and len(segment.batches) > 1))
    ]
    tail = [key for key in slots.segments if key.region is Region.TAIL and key not in deleted]
    groups = _cut(slots, sorted(deleted) + sorted(tail), layout.main.capacity, Region.MAIN)
    kept = []
    for group in groups:
        if layout.main == layout.tail or not group.items or 2 * group.items >= layout.main.capacity:
            kept.append(group)
            continue
        # Too few items for a main segment: only segments with deletions are packed together, in the tail
        # if each of them has room there.
        rest = [key for key in group.sources if key in deleted]
        fits = all(slots.segments[key].live.sum() <= layout.tail.capacity for key in rest)
        region = Region.TAIL if fits else Region.MAIN
        kept += _cut(slots, rest, layout.of(region).capacity, region)
    return kept


def _cut(slots: SlotMap, keys: list[SegmentId], capacity: int, region: Region) -> list[_Group]:
    """Splits segments, in order, into groups of at most `capacity` live items."""
    groups: list[_Group] = []
    sources: list[SegmentId] = []
    items = 0
    for key in keys:
        live = int(slots.segments[key].live.sum())
        if sources and items + live > capacity:
            groups.append(_Group(sources, items, region))
            sources, items = [], 0
        sources.append(key)
        items += live
    if sources:
        groups.append(_Group(sources, items, region))
    return groups
