"""Vectors of items, decrypted from the columns that the evaluator searches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blindsight.errors import Conflict, NotFound
from blindsight.packing.columns import Floats
from blindsight.packing.segments import SegmentId
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.repack import decrypted
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.items import ItemVector
from blindsight.wire.vectors import MOST_VECTORS
from services.keyholder.catalog.catalog import Catalog

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
        catalog: says what they are of.
    """

    def __init__(self, vault: Vault, storage: StorageClient, crypto: Crypto, catalog: Catalog) -> None:
        self._vault = vault
        self._storage = storage
        self._crypto = crypto
        self._catalog = catalog

    async def read(
        self, collection: OpenCollection, item_ids: Sequence[str], index: int = 0
    ) -> tuple[list[bytes], Floats]:
        """Returns the handles of items and their vectors [count, dimension], as far as columns tell them.

        They are rounded as those are, and what a metric does not need is lost: the length, with cosine.

        Args:
            index: which vector of each, by its place among the item's.

        Raises:
            NotFound: if there is no such item, or it has no vector.
            Conflict: if others write again and again.
            DataLoss: if storage has damaged or lost what they are read from.
        """
        for _ in range(_ATTEMPTS):
            handles = [await searchable(self._vault, collection, item_id) for item_id in item_ids]
            slots = collection.slots
            rows = [_row(collection, slots, *one, index) for one in zip(handles, item_ids, strict=True)]
            places = [place for place in map(slots.find, rows) if place is not None]
            if len(places) < len(handles):
                continue  # one was deleted while others were looked for: the next look says so
            try:
                vectors = await self._rows(collection, slots, places)
            except Conflict:
                await self._vault.refresh(collection)
                continue
            return handles, collection.linear().vectors(vectors)
        raise Conflict("the collection is written to again and again; try again")

    async def of_item(self, collection: OpenCollection, item_id: str, index: int) -> ItemVector:
        """Returns a vector of an item, by its place among them, and what is lost of it; raises as `read`."""
        (handle,), (vector,) = await self.read(collection, [item_id], index)
        lost = _LOST.get(collection.config.metric, "")
        item = (await self._catalog.find(collection, [handle])).get(handle)
        labels = item.vectors if isinstance(item, ItemMetadata) else ()
        label = labels[index] if index < len(labels) else None
        return ItemVector(vector.astype(np.float32), f"{collection.precision}{lost}", label)

    async def _rows(
        self, collection: OpenCollection, slots: SlotMap, places: Sequence[tuple[SegmentId, int]]
    ) -> Floats:
        wanted = {key for key, _ in places}
        blocks = await self._storage.read_segments(collection.record.collection_id, slots, wanted)
        read: dict[SegmentId, Floats] = {}
        for key in wanted:
            read[key] = await decrypted(self._crypto, collection, key.region, blocks[key])
        return np.stack([read[key][slot] for key, slot in places])


def _row(collection: OpenCollection, slots: SlotMap, handle: bytes, item_id: str, index: int) -> bytes:
    """Returns the handle of an item's vector.

    Raises:
        NotFound: if the item has fewer, or this one was lost.
    """
    if not index or slots.find(handle) is None:  # deleted meanwhile
        return handle
    row = collection.parts.handles(handle, index)[-1] if index < MOST_VECTORS else b""
    place = slots.find(row) if row else None
    if place is None:
        last = len(slots.parts([handle]))
        raise NotFound(f"vector {index} of item {item_id!r}, want 0 to {last}: that is all it has")
    if slots.segments[place[0]].quarantined[place[1]]:
        raise NotFound(f"vector {index} of item {item_id!r} {_QUARANTINED}")
    return row


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
