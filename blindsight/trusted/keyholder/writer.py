"""Writes batches: places them, encrypts them, appends them, and keeps the slot map in step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blindsight import logs
from blindsight.columns import Floats
from blindsight.errors import Conflict
from blindsight.trusted.keyholder.crypto import Crypto
from blindsight.trusted.keyholder.peers import StorageClient
from blindsight.trusted.keyholder.records import NewItem
from blindsight.trusted.keyholder.slots import HANDLE_TYPE, Handles, Placement, SegmentKey
from blindsight.trusted.keyholder.vault import OpenCollection, Vault

CONFLICT_ATTEMPTS = 3


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

    async def append(self, collection: OpenCollection, rows: Floats, items: Sequence[NewItem]) -> None:
        """Stores new items; all of them are durable when this returns.

        Args:
            rows: [count, row dimension].
            items: one per row.

        Raises:
            AlreadyExists: when one of the items is there; what was placed before it is stored.
            Conflict: when somebody else keeps writing.
        """
        done = attempts = 0
        while done < len(items):
            placement = next(collection.slots.plan(collection.layout, len(items) - done))
            stop, added_before = done + placement.count, collection.items_added
            try:
                await self.put(collection, placement, rows[done:stop], items[done:stop])
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
        before = collection.slots  # others may replace it meanwhile, with what storage just committed
        block = b""
        if items:
            layout = collection.layout.of(placement.region)
            block = await self._crypto.encrypt_rows(collection.parameters, layout, rows, placement.first_slot)
        sequence, epoch = await self._storage.append(
            collection.record.collection_id, before.sequence, placement, block, items, retires
        )
        slots = before.without_segments(retires, sequence, epoch)
        if items:
            slots = slots.appended(placement, handles_of(items), sequence, epoch)
        collection.advance(slots)


def handles_of(items: Sequence[NewItem]) -> Handles:
    """V16 [count]."""
    return np.frombuffer(b"".join(item.handle for item in items), HANDLE_TYPE)
