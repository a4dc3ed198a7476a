"""Fetches a photo's encrypted pixel planes and decrypts them, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import numpy as np

from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.parameters import ParameterSet
from blindsight.runtime.transfer import answer_of
from blindsight.trusted import embedders
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.vault.vault import OpenCollection
from blindsight.wire.storage import StoredItem


class Planes:
    """The reader of stored planes.

    Args:
        storage: client of storage.
        crypto: worker processes that decrypt.
    """

    def __init__(self, storage: StorageClient, crypto: Crypto) -> None:
        self._storage = storage
        self._crypto = crypto

    async def read(self, collection: OpenCollection, item_id: str) -> tuple[ItemMetadata, Integers]:
        """Returns an item's metadata and pixels, uint8 [height, width] or [height, width, 3].

        Raises:
            InvalidArgument: if the collection holds vectors, or its scheme has no planes.
            NotFound: if there is no such item, or it has no planes.
            DataLoss: if storage's planes do not decrypt to pixels.
        """
        parameters, item = await self._find(collection, item_id)
        with answer_of("storage"):
            image = await self._decrypted(collection, parameters, item.handle)
        return collection.open_metadata(item), image

    async def layout(self, collection: OpenCollection, item_id: str) -> PlaneLayout:
        """Returns how an item's planes are cut into tiles.

        Raises:
            The errors of `read`.
        """
        parameters, item = await self._find(collection, item_id)
        with answer_of("storage"):
            return await self._storage.plane_layout(collection.record.collection_id, item.handle, parameters)

    async def _find(self, collection: OpenCollection, item_id: str) -> tuple[ParameterSet, StoredItem]:
        if collection.config.embedder == embedders.NONE:
            raise InvalidArgument("the collection holds vectors, which have no planes (embedder none)")
        parameters = collection.parameters
        if not isinstance(parameters, ParameterSet):
            scheme = parameters.scheme.name.lower()
            raise InvalidArgument(
                f"collection {collection.config.name!r} is under {scheme}, which keeps no planes, want one "
                "under ckks or bfv"
            )
        handle = collection.handle(item_id)
        found = await self._storage.get_items(collection.record.collection_id, [handle])
        if handle not in found:
            raise NotFound(f"no item {item_id!r} in collection {collection.config.name!r}")
        if not found[handle].planes_size_bytes:
            raise NotFound(f"item {item_id!r} has no planes: delete it, and ingest it again with --planes")
        return parameters, found[handle]

    async def _decrypted(
        self, collection: OpenCollection, parameters: ParameterSet, handle: bytes
    ) -> Integers:
        key = collection.record.collection_id
        async with aclosing(self._storage.read_planes(key, handle, parameters)) as parts:
            layout = await anext(parts, None)
            if not isinstance(layout, PlaneLayout):
                raise DataLoss("storage sent planes without their layout")
            async with aclosing(self._crypto.decrypt_planes(parameters, _pieces(parts))) as decrypted:
                tiles = [piece async for piece in decrypted]
        if not tiles:
            raise DataLoss("storage sent planes without a piece")
        return await asyncio.to_thread(lambda: layout.unpack(np.concatenate(tiles)))


async def _pieces(parts: AsyncGenerator[PlaneLayout | bytes, None]) -> AsyncIterator[bytes]:
    async for part in parts:
        if isinstance(part, PlaneLayout):
            raise DataLoss("storage sent planes with two layouts")
        yield part
