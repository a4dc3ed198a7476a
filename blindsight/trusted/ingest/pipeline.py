"""The steps of a photo into a collection: identify, look up, embed, seal, and append in a batch.

Plain ingest and the workers of bulk ingest differ in the source of photos, in how they handle a service that
is unavailable, and in where they report the outcome.  The steps that they share are here.
"""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from blindsight.errors import AlreadyExists, InvalidArgument, InvalidImage, InvalidVector
from blindsight.packing.columns import Floats
from blindsight.packing.planes import PlaneLayout
from blindsight.trusted import embedders
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.crypto.tasks import Embedded
from blindsight.trusted.imaging.images import MEDIA_TYPES
from blindsight.trusted.imaging.keypoints import Keypoints, pack
from blindsight.trusted.ingest import arrival, photos
from blindsight.trusted.ingest.lookups import Lookups
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.keyring.handles import is_short
from blindsight.trusted.records import CollectionConfig, ItemMetadata, NewItem, NewPlanes
from blindsight.trusted.similarity import linear
from blindsight.trusted.slots import unmarked
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import FoundItem, Items
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.metadata import Values, joined
from blindsight.wire.vectors import VectorLabel, digest, labels_of

# Size at which originals and pixels fill a batch, which is held in memory and sent as a whole.
BATCH_BYTES = 32 << 20
# Of remarks.
UNFOUND = "no search will find it"
WITHOUT_PLANES = "it has no planes"
NOT_KEPT = "it is there, and what is said of it now was not kept; say it by an upsert, or change its metadata"
QUARANTINED = "it is there, but quarantined: no search finds it; delete it first to store it anew"
UNKNOWN_TYPE = "application/octet-stream"

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class IdentifiedPhoto:
    """A photo, and the identity of the item that it will be.

    Attributes:
        collection: the destination.
        item_id: the owner's id, or a keyed hash of the content.
        handle: 16 bytes, a keyed hash of the id, of which storage sees nothing else.
        content: a keyed hash of the content.
    """

    collection: OpenCollection
    photo: Photo = field(repr=False)
    item_id: str
    handle: bytes
    content: str

    @property
    def claim(self) -> Claim:
        """What is known of the photo without its file."""
        photo = self.photo
        labels = labels_of(photo.vectors)
        size, digested = len(photo.data), digest(photo.vectors)
        return Claim(self.item_id, self.handle, self.content, size, photo.values, labels, digested)


@dataclass(frozen=True, slots=True)
class Claim:
    """The identity of an item that a photo wants to be, and what is said of it.

    Attributes:
        values, labels: what its owner says of the photo, and of its vectors.
        vectors_digest: see `ItemMetadata`.
    """

    item_id: str
    handle: bytes
    content: str
    size_bytes: int
    values: Values
    labels: tuple[VectorLabel, ...]
    vectors_digest: str

    def require_same(self, known: ItemMetadata) -> None:
        """Refuses an id that is another photo's, which would else be taken for this one.

        Raises:
            AlreadyExists: if the item is of another file.
        """
        if known.content or known.id == self.content:
            same = self.content == (known.content or known.id)
        else:  # stored by a version that kept no hash
            same = known.size_bytes == self.size_bytes
        if not same:
            raise AlreadyExists(
                f"id {self.item_id!r} is another photo's, of {known.size_bytes} bytes; got one of "
                f"{self.size_bytes} bytes, want another id, or --upsert (upsert=True) to replace it"
            )

    def remarks(self, collection: OpenCollection, known: ItemMetadata, of_all: Values) -> list[str]:
        """Returns what the owner of a photo that is there already should know of it.

        Args:
            known: what is kept of it.
            of_all: what is said of all photos that come with it.
        """
        version = collection.slots.versions([self.handle]).get(self.handle, b"")
        same = all(known.values.get(key) == value for key, value in {**of_all, **self.values}.items())
        same &= self.labels in ((), known.vectors)
        if known.vectors_digest:
            same &= self.vectors_digest in ("", known.vectors_digest)
        remarks = (
            QUARANTINED if version != unmarked(version) else "",
            UNFOUND if collection.slots.is_undescribed(self.handle) else "",
            "" if same else NOT_KEPT,
        )
        return [*filter(None, remarks)]


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready to be stored.

    Attributes:
        vectors: [vectors, dimension], not yet transformed by the metric.
        origin: the item's origin, see `ItemMetadata`.
        remark: what conversion to planes lost of the photo, why it has none, or that no search will find it.
    """

    item: NewItem
    vectors: Floats
    origin: str = ""
    remark: str = ""


class Batch(Generic[Entry]):
    """Photos of one collection that wait to be appended together, because their vectors share ciphertexts.

    Args:
        collection: None for photos that are not stored; such a batch is full with its first.
        most: number of photos, or of their vectors, at which it is full.

    Attributes:
        entries: the caller's data for each photo.
        since: time of its creation, in seconds of the monotonic clock.
    """

    def __init__(self, collection: OpenCollection | None, most: int) -> None:
        self.entries: list[Entry] = []
        self._rows = 0
        self.since = time.monotonic()
        self._most = min(collection.layout.main.capacity, most) if collection is not None else 1
        self._size_bytes = 0

    def add(self, entry: Entry, prepared: PreparedPhoto | None) -> None:
        """Adds a photo; None stands for one that is not stored but is answered with the others."""
        self.entries.append(entry)
        self._rows += prepared.item.vectors if prepared is not None else 1
        self._size_bytes += prepared.item.held_bytes if prepared is not None else 0

    @property
    def full(self) -> bool:
        """Whether it fills a segment, or is large enough for one append."""
        return self._rows >= self._most or self._size_bytes >= BATCH_BYTES


class Pipeline:
    """The processing of photos by ingest.

    Args:
        items: looks up photos.
        crypto: the worker processes that decode and embed.
        writer: places, encrypts and appends.
    """

    def __init__(self, items: Items, crypto: Crypto, writer: Writer) -> None:
        self._items = items
        self._lookups = Lookups(items)
        self._crypto = crypto
        self._writer = writer

    async def find(self, photo: IdentifiedPhoto) -> FoundItem | None:
        """Returns the item of a photo that is already in storage, or None.

        Storage is asked only for what the slot map has.  A photo that another writer has stored since is
        embedded in vain, and `store` finds it.

        Raises:
            BlindsightError: if storage reports an error; the photo is not the cause.
        """
        return await self.stored(photo.collection, photo.handle)

    async def stored(self, collection: OpenCollection, handle: bytes) -> FoundItem | None:
        """Returns an item that is in storage, or None; see `find`."""
        if not collection.slots.versions([handle]):
            return None
        return await self._lookups.find(collection, handle)

    async def prepare(
        self,
        identified: IdentifiedPhoto,
        *,
        halo: int | None = None,
        origin: str = "",
        values: Values = MappingProxyType({}),
    ) -> PreparedPhoto:
        """Embeds and seals a photo.

        One that cannot be decoded or described is kept, too: with a remark, and undescribed unless it came
        with its vector.

        Args:
            halo: halo of its planes, in pixels; None for no planes.
            origin, values: of the item, see `ItemMetadata`.

        Raises:
            InvalidVector: if the collection needs a vector with the photo, and it has none that fits.
            Unavailable: if the photo killed its worker process twice.
        """
        collection, photo = identified.collection, identified.photo
        embedded, vectors, remarks = await self._described(collection, photo)
        tags = collection.tags if UNFOUND in remarks else None
        key = ItemKey.new(identified.handle, tags)
        planes = None
        if halo is not None:
            try:
                planes, lost = await self._planes(collection, photo.data, halo)
                remarks += filter(None, [lost])
            except InvalidArgument as error:  # no image, or none that fits into tiles
                remarks = [*dict.fromkeys([*remarks, error.message]), WITHOUT_PLANES]
        metadata = ItemMetadata(
            identified.item_id,
            photo.name,
            embedded.media_type,
            origin,
            photo.arrived,
            len(photo.data),
            # Short: what is sealed of it must be no larger than of others.
            UNFOUND if UNFOUND in remarks else "; ".join(remarks),
            joined({**(await self._crypto.exif(photo.data) if photo.exif else {}), **values}, photo.values),
            identified.content if photo.id else "",
            labels_of(photo.vectors),
            digest(photo.vectors),
        )
        keypoints = embedded.keypoints
        item = NewItem(
            handle=key.handle,
            sealed_metadata=collection.seal_metadata(key, metadata),
            sealed_original=await photos.beside_loop(
                len(photo.data), collection.seal_original, key, photo.data
            ),
            planes=planes,
            sealed_keypoints=collection.seal_keypoints(key, keypoints) if keypoints else b"",
            version=key.version,
            metadata=metadata,
            vectors=len(vectors),
        )
        return PreparedPhoto(item, vectors, origin, "; ".join(remarks))

    async def _described(
        self, collection: OpenCollection, photo: Photo
    ) -> tuple[Embedded, Floats, list[str]]:
        """Returns what is known of a photo, its vectors, the owner's or the embedder's, and remarks."""
        config = collection.config
        if not config.describes:
            own = own_vectors(collection, photo)
            media_type, remark = await media_type_of(self._crypto, photo.name, photo.data)
            return Embedded(own[0].astype(np.float32), media_type), own, [remark] if remark else []
        if photo.vectors:
            raise InvalidVector(
                f"a vector with a photo (embedder {config.embedder}), want embedder external for it"
            )
        try:
            made = await self._crypto.embed(config.embedder, config.dimension, config.channels, photo.data)
        except InvalidImage as error:
            stand_in = undescribed(config, photo.name, error)
            return stand_in, stand_in.vector[None].astype(np.float64), [error.message, UNFOUND]
        return made, made.vector[None].astype(np.float64), []

    async def _planes(self, collection: OpenCollection, data: bytes, halo: int) -> tuple[NewPlanes, str]:
        """Returns a photo's pixels in tiles, and a remark on what conversion lost."""
        pixels = await self._crypto.pixels(data)
        layout = PlaneLayout.of(pixels.values, collection.parameters.ring_degree, halo)
        return NewPlanes(layout, await asyncio.to_thread(layout.pack, pixels.values)), pixels.remark

    async def replace(self, collection: OpenCollection, batch: Sequence[PreparedPhoto]) -> None:
        """Stores photos, in the places of items with their ids; all of them are durable when this returns.

        Raises:
            NotFound: if the collection was deleted.
            BlindsightError: if storage reports an error; some of the photos may be stored.
        """
        vectors, items = np.concatenate([one.vectors for one in batch]), [one.item for one in batch]
        async with collection.lock:
            await self._writer.replace(collection, collection.linear().rows(vectors), items)

    async def store(self, collection: OpenCollection, batch: Sequence[PreparedPhoto]) -> list[bool]:
        """Appends photos to a collection; all of them are durable when this returns.

        Returns:
            for each photo whether the stored item is its own, stored now or by an earlier try of the same
            origin.  If it is not, another photo had the id first.

        Raises:
            NotFound: if the collection was deleted.
            BlindsightError: if storage reports an error; some of the photos may be stored.
        """
        vectors, items = np.concatenate([one.vectors for one in batch]), [one.item for one in batch]
        async with collection.lock:
            stored = await self._writer.append_new(collection, vectors, items)
        tried = [one.item.handle for index, one in enumerate(batch) if one.origin and index not in stored]
        found = await self._items.find(collection, tried)
        return [
            index in stored or is_from(found.get(one.item.handle), one.origin)
            for index, one in enumerate(batch)
        ]


def undescribed(config: CollectionConfig, name: str, error: InvalidImage) -> Embedded:
    """Returns what stands in for the description of a file of which none can be made.

    It has the form of any other, so that nobody else can tell it from one.

    Args:
        name: the file's; it says the media type of what cannot be decoded.
        error: why there is none.
    """
    vector = np.eye(1, config.dimension, dtype=np.float32)[0]  # every metric takes it
    said = error.metadata.get("media_type", "")
    media_type = said if said in MEDIA_TYPES.values() else mimetypes.guess_type(name, strict=False)[0]
    packed = pack(Keypoints.none()) if config.embedder == embedders.SIFT else b""
    return Embedded(vector, media_type or UNKNOWN_TYPE, packed)


async def media_type_of(crypto: Crypto, name: str, data: bytes) -> tuple[str, str]:
    """Returns the media type of a file, by its name if it is no image, and then a remark on that."""
    try:
        return await crypto.media_type(data), ""
    except InvalidImage as error:
        return mimetypes.guess_type(name, strict=False)[0] or UNKNOWN_TYPE, error.message


def own_vectors(collection: OpenCollection, photo: Photo) -> Floats:
    """Returns the vectors that came with a photo, [vectors, dimension].

    Raises:
        InvalidVector: if there is none, or the collection's metric cannot take one.
    """
    vectors = stacked(photo, collection.config.dimension)
    try:
        linear.check_vectors(vectors, collection.config.dimension)
        collection.linear().rows(vectors)
    except InvalidVector as error:
        # What is checked is a matrix, whose rows the message names.
        only = error.message.replace("row 0", "its vector") if len(vectors) == 1 else ""
        raise InvalidVector(only or error.message.replace("row ", "its vector ")) from None
    return vectors


def stacked(photo: Photo, dimension: int) -> Floats:
    """Returns the vectors that came with a photo, unchecked but for their dimension: [vectors, dimension].

    Raises:
        InvalidVector: if there is none, or one has another dimension.
    """
    if not photo.vectors:
        raise InvalidVector(
            f"a photo without its vector (embedder external), want {dimension} numbers with it"
        )
    rows = [one.values for one in photo.vectors]
    for index, row in enumerate(rows):
        if len(row) != dimension:
            which = f" {index}" if index else ""
            raise InvalidVector(f"a photo's vector{which} of dimension {len(row)}, want {dimension}")
    return np.stack(rows).astype(np.float64)


async def identify(collection: OpenCollection, photo: Photo) -> IdentifiedPhoto:
    """Computes the id and handle of the item that a photo will be.

    Raises:
        BlindsightError: if the photo is refused before it is decoded.
    """
    photos.check(photo)
    content = await photos.beside_loop(len(photo.data), collection.content_id, photo.data)
    item_id = photo.id or content
    return IdentifiedPhoto(collection, photo, item_id, collection.handle(item_id), content)


def vector_items(
    collection: OpenCollection,
    ids: Sequence[str],
    values: Sequence[Values] = (),
    since: Mapping[bytes, int] = MappingProxyType({}),
) -> list[NewItem]:
    """Returns the items of an owner's own vectors, which have an id, and often nothing else.

    Args:
        values: what the owner says of each; empty: nothing of any.
        since: when those of them came that take the places of others, by handle.

    Raises:
        InvalidArgument: if an id is not valid.
    """
    for item_id in ids:
        photos.check_id(item_id)
    any_said = any(values)
    return [
        # Nothing but its id is what has neither metadata nor a time.
        NewItem(handle)
        if not any_said and is_short(item_id.encode()) and not since.get(handle)
        else _sealed_item(collection, handle, item_id, said, since.get(handle))
        for handle, item_id, said in zip(collection.handles(ids), ids, values or [{}] * len(ids), strict=True)
    ]


def _sealed_item(
    collection: OpenCollection, handle: bytes, item_id: str, values: Values, since: int | None
) -> NewItem:
    key = ItemKey.new(handle)
    if since is None:
        since = arrival.now() if values else 0
    metadata = ItemMetadata(item_id, added_microseconds=since, values=values)
    sealed = collection.seal_metadata(key, metadata)
    return NewItem(handle, sealed, version=key.version, metadata=metadata)


def is_from(item: FoundItem | None, origin: str) -> bool:
    """Returns whether an item was stored by an earlier try of the same origin; False for an empty origin."""
    return item is not None and origin != "" and item.metadata.origin == origin
