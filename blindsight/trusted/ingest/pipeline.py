"""A photo's way into a collection: named, looked up, embedded, sealed, gathered, and appended with others.

Plain ingest and the workers of bulk ingest differ in where photos come from, in what they do about a service
that is away, and in whom they tell what became of a photo.  What is done to one is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.packing.planes import PlaneLayout
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest import photos
from blindsight.trusted.ingest.lookups import Lookups
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.records import ItemMetadata, NewItem, NewPlanes
from blindsight.trusted.vault.vault import OpenCollection
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.storage import StoredItem

# Originals and pixels for planes of one batch; a batch is in memory, and on the wire, as a whole.
BATCH_BYTES = 32 << 20

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class IdentifiedPhoto:
    """A photo, and the item that it is to be.

    Attributes:
        collection: where it goes.
        item_id: as the owner gave it, or a keyed hash of the content.
        handle: 16 bytes, a keyed hash of the id: all of it that storage sees.
    """

    collection: OpenCollection
    photo: Photo = field(repr=False)
    item_id: str
    handle: bytes


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready to be stored.

    Attributes:
        vector: [dimension], not yet brought into the metric's form.
        origin: of the item, see `ItemMetadata`.
        remark: what of the photo its planes do not hold, or a search will not find.
    """

    item: NewItem
    vector: Floats
    origin: str = ""
    remark: str = ""


class Batch(Generic[Entry]):
    """Photos of one collection that wait to be appended together: their vectors share ciphertexts.

    Args:
        collection: None for photos that go nowhere; such a batch is full at once.
        most: photos.

    Attributes:
        entries: what the photos' owner knows of each.
        since: when it began, in seconds of the monotonic clock.
    """

    def __init__(self, collection: OpenCollection | None, most: int) -> None:
        self.entries: list[Entry] = []
        self.since = time.monotonic()
        self._most = min(collection.layout.main.capacity, most) if collection is not None else 1
        self._size_bytes = 0

    def add(self, entry: Entry, prepared: PreparedPhoto | None) -> None:
        """Adds a photo; with None one of which nothing is stored, but which is answered with the others."""
        self.entries.append(entry)
        self._size_bytes += prepared.item.held_bytes if prepared is not None else 0

    @property
    def full(self) -> bool:
        """Whether it is a segment's worth, or enough for one append."""
        return len(self.entries) >= self._most or self._size_bytes >= BATCH_BYTES


class Pipeline:
    """What ingest does to photos.

    Args:
        storage: asked what it has, for several photos at a time.
        crypto: the processes that decode and embed.
        writer: places, encrypts and appends.
    """

    def __init__(self, storage: StorageClient, crypto: Crypto, writer: Writer) -> None:
        self._storage = storage
        self._lookups = Lookups(storage)
        self._crypto = crypto
        self._writer = writer

    async def find(self, photo: IdentifiedPhoto) -> StoredItem | None:
        """The item of a photo that is in storage already; None when there is none.

        Raises:
            BlindsightError: what storage raised; the photo has nothing to do with it.
        """
        return await self._lookups.find(photo.collection.record.collection_id, photo.handle)

    async def prepare(
        self, identified: IdentifiedPhoto, *, halo: int | None = None, origin: str = ""
    ) -> PreparedPhoto:
        """Embeds and seals a photo.

        Args:
            halo: of its planes, in pixels; None: it is to have none.
            origin: of the item, see `ItemMetadata`.

        Raises:
            InvalidImage: if the data is not a decodable image, or too large for planes.
            Unavailable: if it killed its worker process twice.
        """
        collection, photo, handle = identified.collection, identified.photo, identified.handle
        config = collection.config
        planes, remark = (None, "") if halo is None else await self._planes(collection, photo.data, halo)
        embedded = await self._crypto.embed(config.embedder, config.dimension, config.channels, photo.data)
        metadata = ItemMetadata(identified.item_id, photo.name, embedded.media_type, origin)
        keypoints = embedded.keypoints
        item = NewItem(
            handle=handle,
            sealed_metadata=collection.seal_metadata(handle, metadata),
            sealed_original=await photos.beside_loop(
                len(photo.data), collection.seal_original, handle, photo.data
            ),
            planes=planes,
            sealed_keypoints=collection.seal_keypoints(handle, keypoints) if keypoints else b"",
        )
        remarks = "; ".join(filter(None, [remark, embedded.remark]))
        return PreparedPhoto(item, embedded.vector.astype(np.float64), origin, remarks)

    async def _planes(self, collection: OpenCollection, data: bytes, halo: int) -> tuple[NewPlanes, str]:
        """A photo's pixels in tiles, and what of the photo they do not hold."""
        pixels = await self._crypto.pixels(data)
        layout = PlaneLayout.of(pixels.values, collection.parameters.ring_degree, halo)
        return NewPlanes(layout, await asyncio.to_thread(layout.pack, pixels.values)), pixels.remark

    async def store(self, collection: OpenCollection, batch: Sequence[PreparedPhoto]) -> list[bool]:
        """Appends photos to a collection; all of them are durable when this returns.

        Returns:
            for each whether the item is its own: stored now, or by an earlier try of the same origin.
            Another photo had the id first where it is not.

        Raises:
            NotFound: if the collection was deleted.
            BlindsightError: what storage raised; some of the photos may be stored.
        """
        vectors, items = np.stack([one.vector for one in batch]), [one.item for one in batch]
        async with collection.lock:
            stored = await self._writer.append_new(collection, vectors, items)
        tried = [one.item.handle for index, one in enumerate(batch) if one.origin and index not in stored]
        found = await self._storage.get_items(collection.record.collection_id, tried)
        return [
            index in stored or is_from(collection, found.get(one.item.handle), one.origin)
            for index, one in enumerate(batch)
        ]


async def identify(collection: OpenCollection, photo: Photo) -> IdentifiedPhoto:
    """Names the item that a photo is to be.

    Raises:
        BlindsightError: why the photo is refused before anything looks at it.
    """
    photos.check(photo)
    item_id = photo.id or await photos.beside_loop(len(photo.data), collection.content_id, photo.data)
    return IdentifiedPhoto(collection, photo, item_id, collection.handle(item_id))


def vector_item(collection: OpenCollection, item_id: str) -> NewItem:
    """The item of a vector of the owner's own, which has an id and nothing else.

    Raises:
        InvalidArgument: if the id is not valid.
    """
    photos.check_id(item_id)
    handle = collection.handle(item_id)
    return NewItem(handle, collection.seal_metadata(handle, ItemMetadata(item_id)))


def is_from(collection: OpenCollection, item: StoredItem | None, origin: str) -> bool:
    """Whether an item was stored by an earlier try of the same origin; an empty origin has no tries.

    Raises:
        DataLoss: if the item's metadata is not what was sealed.
    """
    return item is not None and origin != "" and collection.open_metadata(item).origin == origin
