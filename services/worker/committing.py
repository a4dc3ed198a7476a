"""From ready items to storage, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blindsight.errors import NotFound
from blindsight.runtime.retry import retry
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.ingest.records import ItemState
from blindsight.trusted.vault.vault import OpenCollection
from blindsight.trusted.vault.writer import Writer
from services.worker.preparing import Opened, state_of


class Storing:
    """Stores batches.

    Args:
        storage: where items go.
        writer: places, encrypts and appends.
    """

    def __init__(self, storage: StorageClient, writer: Writer) -> None:
        self._storage = storage
        self._writer = writer

    async def store(self, collection: OpenCollection, batch: Sequence[Opened]) -> list[Opened]:
        """Stores what is ready in a batch of one collection; returns all of it with reports.

        Raises:
            BlindsightError: what waiting does not help against; some of the batch may be stored.
        """
        ready = [one for one in batch if one.prepared is not None]
        told = [one for one in batch if one.prepared is None]
        try:
            return told + (await retry("storage", lambda: self._store(collection, ready)) if ready else [])
        except NotFound as error:
            return told + [one.with_outcome(ItemState.FAILED, error) for one in ready]

    async def _store(self, collection: OpenCollection, ready: Sequence[Opened]) -> list[Opened]:
        """Stores; what was there is this message's work of an earlier try, or somebody else's."""
        prepared = [one.prepared for one in ready if one.prepared is not None]
        async with collection.lock:
            vectors = np.stack([one.vector for one in prepared])
            stored = await self._writer.append_new(collection, vectors, [one.item for one in prepared])
        handles = [one.item.handle for one in prepared]
        there = [handle for index, handle in enumerate(handles) if index not in stored]
        found = await self._storage.get_items(collection.record.collection_id, there)
        origins = {handle: collection.open_metadata(item).origin for handle, item in found.items()}
        return [
            one.with_outcome(
                ItemState.DONE if index in stored else state_of(origins.get(handle, ""), one.origin)
            )
            for index, (one, handle) in enumerate(zip(ready, handles, strict=True))
        ]
