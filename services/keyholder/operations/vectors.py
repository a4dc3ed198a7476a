"""Vectors of items, decrypted from the columns that the evaluator searches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blindsight.errors import Conflict, NotFound
from blindsight.packing.columns import Floats
from blindsight.packing.segments import SegmentId
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.repack import decrypted
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.items import ItemVector

# Of a reading, while others write.
_ATTEMPTS = 16
# By a metric that does not need it.
_LOST = {
    Metric.COSINE: "; of length 1, since cosine keeps directions alone",
    Metric.SQUARED_COSINE: "; a colour channel may be brighter than it was: cosine keeps directions alone",
}
_UNDESCRIBED = "has no vector: nothing could be made of its photo"
_QUARANTINED = "is quarantined: its vector was lost"


class StoredVectors:
    """Reads the vectors of items.

    Args:
        vault: refreshes slot maps.
        storage: has the columns; it learns in which segments the items are.
        crypto: decrypts them.
    """

    def __init__(self, vault: Vault, storage: StorageClient, crypto: Crypto) -> None:
        self._vault = vault
        self._storage = storage
        self._crypto = crypto

    async def read(self, collection: OpenCollection, item_ids: Sequence[str]) -> tuple[list[bytes], Floats]:
        """Returns the handles of items and their vectors [count, dimension], as far as columns tell them.

        They are rounded as those are, and what a metric does not need is lost: the length, with cosine.

        Raises:
            NotFound: if there is no such item, or it has no vector.
            Conflict: if others write again and again.
            DataLoss: if storage has damaged or lost what they are read from.
        """
        for _ in range(_ATTEMPTS):
            handles = [await searchable(self._vault, collection, item_id) for item_id in item_ids]
            slots = collection.slots
            places = [place for place in map(slots.find, handles) if place is not None]
            if len(places) < len(handles):
                continue  # one was deleted while others were looked for: the next look says so
            try:
                rows = await self._rows(collection, slots, places)
            except Conflict:
                await self._vault.refresh(collection)
                continue
            return handles, collection.linear().vectors(rows)
        raise Conflict("the collection is written to again and again; try again")

    async def of_item(self, collection: OpenCollection, item_id: str) -> ItemVector:
        """Returns the vector of an item, and what is lost of it; raises as `read`."""
        _, (vector,) = await self.read(collection, [item_id])
        lost = _LOST.get(collection.config.metric, "")
        return ItemVector(vector.astype(np.float32), f"{collection.precision}{lost}")

    async def _rows(
        self, collection: OpenCollection, slots: SlotMap, places: Sequence[tuple[SegmentId, int]]
    ) -> Floats:
        wanted = {key for key, _ in places}
        blocks = await self._storage.read_segments(collection.record.collection_id, slots, wanted)
        read: dict[SegmentId, Floats] = {}
        for key in wanted:
            read[key] = await decrypted(self._crypto, collection, key.region, blocks[key])
        return np.stack([read[key][slot] for key, slot in places])


async def searchable(vault: Vault, collection: OpenCollection, item_id: str) -> bytes:
    """Returns the handle of an item that has a vector; storage is not told which item it is.

    Raises:
        NotFound: if there is no such item, or it has no vector.
    """
    handle = collection.handle(item_id)
    if collection.slots.find(handle) is None:
        await vault.refresh(collection)  # a worker of bulk ingest may have stored it
    place = collection.slots.find(handle)
    if place is None:
        raise NotFound(f"no item {item_id!r} in collection {collection.config.name!r}")
    segment, slot = collection.slots.segments[place[0]], place[1]
    if segment.quarantined[slot] or segment.undescribed[slot]:
        why = _QUARANTINED if segment.quarantined[slot] else _UNDESCRIBED
        raise NotFound(f"item {item_id!r} of collection {collection.config.name!r} {why}")
    return handle
