"""Writes batches: places them, encrypts them, appends them, and keeps the slot map in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from blindsight import logs
from blindsight.columns import Floats
from blindsight.errors import Conflict
from blindsight.trusted.keyholder.crypto import Crypto
from blindsight.trusted.keyholder.peers import StorageClient
from blindsight.trusted.keyholder.records import NewItem
from blindsight.trusted.keyholder.slots import HANDLE_TYPE, Handles, Placement, SegmentKey, SlotMap
from blindsight.trusted.keyholder.vault import OpenCollection, Vault

CONFLICT_ATTEMPTS = 3

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
        done = attempts = 0
        while done < len(items):
            slots, added_before = collection.slots, collection.items_added
            placement = next(collection.plan(slots, len(items) - done))
            stop = done + placement.count
            block = ahead.get((done, placement)) or await self._encrypt(
                collection, placement, rows[done:stop]
            )
            try:
                await self._commit(collection, slots, placement, block, items[done:stop])
            except Conflict:
                # Somebody else wrote, or an answer was lost on the way: storage knows the truth.
                attempts += 1
                if attempts == CONFLICT_ATTEMPTS:
                    raise
                logs.get().warning("append_conflict", attempt=attempts)
                await self._vault.refresh(collection)
                continue
            # Not simply added: who reads the counters meanwhile may have counted these items.
            collection.items_added = max(collection.items_added, added_before + placement.count)
            done = stop

    async def put(
        self,
        collection: OpenCollection,
        placement: Placement,
        rows: Floats,
        items: Sequence[NewItem],
        retires: Sequence[SegmentKey] = (),
    ) -> None:
        """Encrypts and appends one batch, and retires the segments that it replaces."""
        slots = collection.slots
        block = await self._encrypt(collection, placement, rows) if items else b""
        await self._commit(collection, slots, placement, block, items, retires)

    async def _encrypt(self, collection: OpenCollection, placement: Placement, rows: Floats) -> bytes:
        layout = collection.layout.of(placement.region)
        return await self._crypto.encrypt_rows(collection.parameters, layout, rows, placement.first_slot)

    async def _commit(
        self,
        collection: OpenCollection,
        before: SlotMap,
        placement: Placement,
        block: bytes,
        items: Sequence[NewItem],
        retires: Sequence[SegmentKey] = (),
    ) -> None:
        """Appends a block to the log as it was `before`, for which it was placed."""
        with collection.unless_answered():
            sequence, epoch = await self._storage.append(
                collection.record.collection_id,
                before.sequence,
                placement,
                block,
                items,
                retires,
                encrypt_planes=partial(self._crypto.encrypt_planes, collection.parameters),
            )
        slots = before.without_segments(retires, sequence, epoch)
        if items:
            slots = slots.appended(placement, handles_of(items), sequence, epoch)
        collection.advance(slots)


def handles_of(items: Sequence[NewItem]) -> Handles:
    """V16 [count]."""
    return np.frombuffer(b"".join(item.handle for item in items), HANDLE_TYPE)
