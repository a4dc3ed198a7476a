"""Repacking: re-encryption of the tail, and of segments with deletions, into new segments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.records import NewItem
from blindsight.trusted.slots import Placement, SlotMap
from blindsight.trusted.vault.vault import OpenCollection, Vault
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.collections import RepackProgress


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

    async def run(self, collection: OpenCollection) -> AsyncIterator[RepackProgress]:
        """Repacks all groups that are worth it and yields progress; an interruption loses nothing."""
        async with collection.lock:
            await self._vault.refresh(collection)
            groups = list(plan(collection))
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
        rows, handles = await self._read(collection, group)
        index = collection.slots.next_index.get(group.region, 0)
        placement = Placement(group.region, index, 0, group.items)
        items = [NewItem(handle) for handle in handles]
        await self._writer.put(collection, placement, rows, items, retires=group.sources)

    async def _read(self, collection: OpenCollection, group: _Group) -> tuple[Floats, list[bytes]]:
        """Decrypts the live rows of a group."""
        rows = [np.zeros((0, collection.layout.main.dimension))]
        handles: list[bytes] = []
        slots = collection.slots
        live_sources = [key for key in group.sources if slots.segments[key].live.any()]
        if not live_sources:
            return rows[0], handles
        blocks = await self._storage.read_segments(collection.record.collection_id, slots, live_sources)
        for key in live_sources:
            segment = slots.segments[key]
            layout = collection.layout.of(key.region)
            with answer_of("storage"):
                decrypted = await self._crypto.decrypt_rows(collection.parameters, layout, blocks[key])
            rows.append(decrypted[: segment.fill][segment.live])
            packed = segment.handles[segment.live].tobytes()
            handles += [packed[at : at + HANDLE_BYTES] for at in range(0, len(packed), HANDLE_BYTES)]
        return np.concatenate(rows), handles


def worthwhile(collection: OpenCollection) -> bool:
    """Returns whether the tail would fill a main segment, which starts a repack in the background."""
    if collection.layout.main == collection.layout.tail:
        return False
    return collection.slots.live_items(Region.TAIL) >= collection.layout.main.capacity


def plan(collection: OpenCollection) -> list[_Group]:
    """Returns groups of segments to move: all with deletions, and the tail if it is worth a main segment.

    Under a scheme without a tail, also segments that were filled by several appends.
    """
    slots, layout = collection.slots, collection.layout
    # Without a tail, every append costs a ciphertext for each column, however small it is.
    scatters = collection.parameters.most_stride == 1
    deleted = [
        key
        for key, segment in slots.segments.items()
        if not segment.live.all() or (scatters and segment.batches > 1)
    ]
    tail = [key for key in slots.segments if key.region is Region.TAIL and key not in deleted]
    groups = _cut(slots, sorted(deleted) + sorted(tail), layout.main.capacity, Region.MAIN)
    kept = []
    for group in groups:
        if layout.main == layout.tail or not group.items or 2 * group.items >= layout.main.capacity:
            kept.append(group)
            continue
        # Too few items for a main segment: only segments with deletions are packed together, in the tail.
        rest = [key for key in group.sources if key in deleted]
        kept += _cut(slots, rest, layout.tail.capacity, Region.TAIL)
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
