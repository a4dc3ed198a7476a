"""Writes batches: places them, encrypts them, appends them, and keeps the slot map in step."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate
from types import MappingProxyType

import numpy as np

from blindsight.errors import AlreadyExists, Conflict
from blindsight.packing.columns import Floats
from blindsight.packing.segments import SegmentId
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import NewItem
from blindsight.trusted.slots import HANDLE_TYPE, Handles, Placement, SlotMap
from blindsight.trusted.vault.vault import OpenCollection, Vault

# Storage keeps its turn for a batch that it refused.  Who lost that as well has to do with writers that are
# slower than their turns, and waits a random time, longer and longer: with 16 attempts none of ten workers
# was seen to starve, without any turns.
CONFLICT_ATTEMPTS = 16
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.08, 1.0
# Of an append with several blocks: what one block of 128 columns has, 4 MB under most parameters.
_APPEND_CIPHERTEXTS = 128

# Blocks by the number of their first row and the place that they were encrypted for.
Ahead = Mapping[tuple[int, Placement], bytes]


class Writer:
    """The only place from which ciphertexts go to storage.  Callers hold the collection's lock.

    Args:
        vault: to read a collection's slots again after a conflict.
        storage: where batches go.
        crypto: the owner's keys at work.
    """

    def __init__(self, vault: Vault, storage: StorageClient, crypto: Crypto) -> None:
        self._vault = vault
        self._storage = storage
        self._crypto = crypto

    async def encrypt(self, collection: OpenCollection, slots: SlotMap, rows: Floats) -> Ahead:
        """Encrypts rows before it is their turn; needs no lock.

        Args:
            slots: how they are expected to be when it is; blocks for other places are encrypted again.
            rows: [count, row dimension].
        """
        blocks: dict[tuple[int, Placement], bytes] = {}
        start = 0
        for placement in collection.plan(slots, len(rows)):
            stop = start + placement.count
            blocks[start, placement] = await self._encrypt(collection, placement, rows[start:stop])
            start = stop
        return blocks

    async def append(
        self,
        collection: OpenCollection,
        rows: Floats,
        items: Sequence[NewItem],
        ahead: Ahead = MappingProxyType({}),
    ) -> None:
        """Stores new items; all of them are durable when this returns.

        Args:
            rows: [count, row dimension].
            items: one per row.
            ahead: what `encrypt` made of the rows.

        Raises:
            AlreadyExists: when one of the items is there; what was placed before it is stored.
            Conflict: when somebody else keeps writing.
        """
        done = 0
        while done < len(items):
            done = await self._append_some(collection, rows, items, done, ahead)

    async def append_new(
        self, collection: OpenCollection, rows: Floats, items: Sequence[NewItem]
    ) -> set[int]:
        """Stores those items that are not there; other writers may store the same ones meanwhile.

        Args:
            rows: vectors [count, dimension], not yet brought into the metric's form.
            items: one per vector; of equal ones the first counts.

        Returns:
            the indices of the items that this call stored; they are durable.

        Raises:
            Conflict: when somebody else keeps writing; some of the items may be stored.
        """
        stored: set[int] = set()
        while True:
            handles = [item.handle for item in items]
            known = await self._storage.get_items(collection.record.collection_id, handles)
            fresh = first_of_each(handles, known)
            if not fresh:
                return stored
            formed = collection.linear().rows(rows[fresh])
            done = await self._append_until_taken(collection, formed, [items[index] for index in fresh])
            stored |= set(fresh[:done])
            if done == len(fresh):
                return stored

    async def _append_until_taken(
        self, collection: OpenCollection, rows: Floats, items: Sequence[NewItem]
    ) -> int:
        """Makes appends up to one with an item that another writer stored just before; how many are done."""
        done = 0
        with suppress(AlreadyExists):
            while done < len(items):
                done = await self._append_some(collection, rows, items, done, shared=True)
        return done

    async def _append_some(
        self,
        collection: OpenCollection,
        rows: Floats,
        items: Sequence[NewItem],
        done: int,
        ahead: Ahead = MappingProxyType({}),
        *,
        shared: bool = False,
    ) -> int:
        """Makes one append of what is not done yet; returns how many items are done then.

        Args:
            shared: whether others are likely to write as well: then the batch is placed when it is its turn.
        """
        batch_id = _new_batch_id()
        if shared:
            await self._vault.take_turn(collection, batch_id)
        backoff = Backoff(
            first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=1
        )
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            slots, added_before = collection.slots, collection.items_added
            placements = list(_together(collection, collection.plan(slots, len(items) - done)))
            blocks = await self._blocks(collection, placements, rows, done, ahead)
            stop = done + sum(placement.count for placement in placements)
            try:
                await self._commit(collection, batch_id, slots, placements, blocks, items[done:stop])
            except Conflict:
                # Somebody else wrote, or an answer was lost on the way: storage knows the truth.
                if attempt == CONFLICT_ATTEMPTS:
                    raise
                logs.get().info("append_conflict", attempt=attempt)
                if attempt > 1:  # else storage keeps this batch its turn
                    await asyncio.sleep(backoff.pause())
                await self._vault.refresh(collection)
                continue
            # Not simply added: who reads the counters meanwhile may have counted these items.
            collection.items_added = max(collection.items_added, added_before + stop - done)
            return stop
        raise AssertionError("the last attempt returns or raises")

    async def put(
        self,
        collection: OpenCollection,
        placement: Placement,
        rows: Floats,
        items: Sequence[NewItem],
        retires: Sequence[SegmentId] = (),
    ) -> None:
        """Encrypts and appends one batch, and retires the segments that it replaces."""
        slots = collection.slots
        placements = [placement] if items else []
        blocks = await self._blocks(collection, placements, rows)
        await self._commit(collection, _new_batch_id(), slots, placements, blocks, items, retires)

    async def _blocks(
        self,
        collection: OpenCollection,
        placements: Sequence[Placement],
        rows: Floats,
        start: int = 0,
        ahead: Ahead = MappingProxyType({}),
    ) -> list[bytes]:
        """The blocks of rows from `start` on, those that were not encrypted ahead at once."""

        async def block(start: int, placement: Placement) -> bytes:
            return ahead.get((start, placement)) or await self._encrypt(
                collection, placement, rows[start : start + placement.count]
            )

        starts = accumulate((placement.count for placement in placements), initial=start)
        return await asyncio.gather(*(block(*one) for one in zip(starts, placements, strict=False)))

    async def _encrypt(self, collection: OpenCollection, placement: Placement, rows: Floats) -> bytes:
        layout = collection.layout.of(placement.region)
        return await self._crypto.encrypt_rows(collection.parameters, layout, rows, placement.first_slot)

    async def _commit(
        self,
        collection: OpenCollection,
        batch_id: bytes,
        before: SlotMap,
        placements: Sequence[Placement],
        blocks: Sequence[bytes],
        items: Sequence[NewItem],
        retires: Sequence[SegmentId] = (),
    ) -> None:
        """Appends blocks to the log as it was `before`, for which they were placed."""
        with collection.unless_answered():
            sequence, epoch = await self._storage.append(
                collection.record.collection_id,
                batch_id,
                before.sequence,
                placements,
                blocks,
                items,
                retires,
                encrypt_planes=partial(self._crypto.encrypt_planes, collection.parameters),
            )
        slots = before.without_segments(retires, sequence, epoch)
        start = 0
        for placement in placements:
            stop = start + placement.count
            slots = slots.appended(placement, handles_of(items[start:stop]), sequence, epoch)
            start = stop
        collection.advance(slots)


def _together(collection: OpenCollection, placements: Iterable[Placement]) -> Iterator[Placement]:
    """The first of them, at least one, whose blocks one append holds."""
    ciphertexts = 0
    for placement in placements:
        columns = collection.layout.of(placement.region).columns
        if ciphertexts and ciphertexts + columns > _APPEND_CIPHERTEXTS:
            return
        ciphertexts += columns
        yield placement


def first_of_each(handles: Sequence[bytes], known: Container[bytes]) -> list[int]:
    """Indices of handles that are neither known nor repeated."""
    seen: set[bytes] = set()
    fresh = []
    for index, handle in enumerate(handles):
        if handle not in known and handle not in seen:
            seen.add(handle)
            fresh.append(index)
    return fresh


def _new_batch_id() -> bytes:
    return os.urandom(16)


def handles_of(items: Sequence[NewItem]) -> Handles:
    """V16 [count]."""
    return np.frombuffer(b"".join(item.handle for item in items), HANDLE_TYPE)
