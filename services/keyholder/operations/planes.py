"""Fetches a photo's encrypted pixel planes, opens their seal, and decrypts them, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import numpy as np

from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.parameters import ParameterSet, of_ring
from blindsight.runtime.transfer import answer_of, digest
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.clients.reading import SealedLayout
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.tile_checks import PlaneRecord
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import FoundItem, Items

Parts = AsyncGenerator[SealedLayout | bytes, None]


@dataclass(frozen=True, slots=True, eq=False)
class OpenPlanes:
    """What the owner knows of planes in storage: how they are cut, and by what they are recognised."""

    layout: PlaneLayout
    record: PlaneRecord


class Planes:
    """The reader of stored planes.

    Args:
        items: look up items.
        storage: client of storage.
        crypto: worker processes that decrypt.
    """

    def __init__(self, items: Items, storage: StorageClient, crypto: Crypto) -> None:
        self._items = items
        self._storage = storage
        self._crypto = crypto

    async def read(self, collection: OpenCollection, item_id: str) -> tuple[ItemMetadata, Integers]:
        """Returns an item's metadata and pixels, uint8 [height, width] or [height, width, 3].

        Raises:
            InvalidArgument: if the collection holds vectors, or its scheme has no planes.
            NotFound: if there is no such item, or it has no planes.
            DataLoss: if storage's planes are not those that were stored; nothing was decrypted then.
        """
        _, item = await self._find(collection, item_id)
        layout, tiles = await self.tiles(collection, item.key)
        return item.metadata, await asyncio.to_thread(layout.unpack, tiles)

    async def tiles(self, collection: OpenCollection, item: ItemKey) -> tuple[PlaneLayout, Integers]:
        """Returns the layout of an item's planes and their pixels as they are encrypted, [count, N].

        Raises:
            NotFound: if the item has none.
            DataLoss: see `read`.
        """
        parameters = of_ring(collection.parameters, "planes")
        async with self._opened(collection, parameters, item) as (opened, parts):
            pieces = _authentic(parts, opened.record)
            async with aclosing(self._crypto.decrypt_planes(parameters, pieces)) as decrypted:
                tiles = [piece async for piece in decrypted]
        return opened.layout, np.concatenate(tiles)

    async def open(self, collection: OpenCollection, item_id: str) -> OpenPlanes:
        """Returns what is known of an item's planes, without their pieces.

        Raises:
            The errors of `read`.
        """
        parameters, item = await self._find(collection, item_id)
        async with self._opened(collection, parameters, item.key) as (opened, _):
            return opened

    async def _find(self, collection: OpenCollection, item_id: str) -> tuple[ParameterSet, FoundItem]:
        if not collection.config.takes_photos:
            raise InvalidArgument("the collection holds vectors, which have no planes (embedder none)")
        parameters = collection.parameters
        if not isinstance(parameters, ParameterSet):
            scheme = parameters.scheme.name.lower()
            raise InvalidArgument(
                f"collection {collection.config.name!r} is under {scheme}, which keeps no planes, want one "
                "under ckks or bfv"
            )
        handle = collection.handle(item_id)
        found = await self._items.find(collection, [handle])
        if handle not in found:
            raise NotFound(f"no item {item_id!r} in collection {collection.config.name!r}")
        if not found[handle].stored.planes_size_bytes:
            raise NotFound(
                f"item {item_id!r} of collection {collection.config.name!r} has no planes: delete it, and "
                "ingest it again with --planes"
            )
        return parameters, found[handle]

    @asynccontextmanager
    async def _opened(
        self, collection: OpenCollection, parameters: ParameterSet, item: ItemKey
    ) -> AsyncIterator[tuple[OpenPlanes, Parts]]:
        place = collection.record.collection_id
        with answer_of("storage"):
            async with aclosing(self._storage.read_planes(place, item.handle, parameters)) as parts:
                head = await anext(parts, None)
                if not isinstance(head, SealedLayout):
                    raise DataLoss("storage sent planes without their layout")
                layout = head.layout
                sealed = collection.open_planes(item, layout, head.seal)
                record = PlaneRecord.from_bytes(sealed, len(layout.pieces), parameters)
                yield OpenPlanes(layout, record), parts


async def _authentic(parts: Parts, record: PlaneRecord) -> AsyncIterator[bytes]:
    """Yields pieces that are those which were stored: what is forged must not meet the key."""
    for wanted in record.digests:
        piece = await anext(parts, None)
        if not isinstance(piece, bytes) or await asyncio.to_thread(digest, piece) != wanted:
            raise DataLoss("storage sent planes that are not those that were stored")
        yield piece
    if await anext(parts, None) is not None:
        raise DataLoss("storage sent more planes than were stored")
