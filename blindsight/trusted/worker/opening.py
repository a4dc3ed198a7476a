"""From a message to an item that is ready to be stored, or to what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from blindsight import logs
from blindsight.errors import BlindsightError, DataLoss, NotFound, Unavailable
from blindsight.trusted.keyholder.collections.vault import OpenCollection, Vault
from blindsight.trusted.keyholder.crypto.pool import Crypto
from blindsight.trusted.keyholder.jobs.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.keyholder.jobs.records import ItemReport, ItemState
from blindsight.trusted.keyholder.operations import photos
from blindsight.trusted.keyholder.operations.photos import Photo, PreparedPhoto
from blindsight.trusted.keyholder.peers import StorageClient
from blindsight.trusted.queues import Delivery
from blindsight.trusted.worker.patience import patiently
from blindsight.trusted.worker.settling import settle


@dataclass(frozen=True, slots=True)
class Opened:
    """A message whose photo was looked at.

    Attributes:
        photo: without its data.
        collection: where it goes; None when it goes nowhere.
        prepared: None when there is nothing to store.
        report: what became of it, where that is known before anything is stored.
    """

    delivery: Delivery
    photo: QueuedPhoto
    collection: OpenCollection | None = None
    prepared: PreparedPhoto | None = None
    report: ItemReport | None = None

    @property
    def origin(self) -> str:
        """How the item is known to be of this message; see `ItemMetadata`."""
        return origin(self.delivery)

    @property
    def held_bytes(self) -> int:
        """Memory that it takes until it is stored."""
        return self.prepared.item.held_bytes if self.prepared is not None else 0

    def with_outcome(self, state: ItemState, error: BlindsightError | None = None) -> Opened:
        """The same with its report, and nothing to store any more."""
        reason, message = (error.reason, error.message) if error is not None else ("", "")
        report = ItemReport(self.photo.job_id, self.photo.number, state, reason, message)
        return replace(self, prepared=None, report=report)


class Opening:
    """Opens messages.

    Args:
        envelopes: of the owner's key set.
        vault: the collections.
        storage: asked what is there already.
        crypto: the processes that decode and embed.
        max_deliveries: of one message; at the last a photo that kills processes is given up.
    """

    def __init__(
        self,
        envelopes: Envelopes,
        vault: Vault,
        storage: StorageClient,
        crypto: Crypto,
        max_deliveries: int,
    ) -> None:
        self._envelopes = envelopes
        self._vault = vault
        self._storage = storage
        self._crypto = crypto
        self._max_deliveries = max_deliveries
        self._room = Room(2 * crypto.processes)

    async def open(self, delivery: Delivery) -> Opened | None:
        """Opens a message; None when it was settled here: it is not ours, or is to come again."""
        try:
            photo = await asyncio.to_thread(self._envelopes.open, delivery.message)
        except DataLoss:
            # A message of another owner, damaged, or moved from one job to another: no item to report.
            logs.get().warning("message_refused", job=delivery.message.job_id.hex())
            await settle(lambda: delivery.reject(DataLoss.reason))
            return None
        logs.request_id.set(photo.request_id)
        opened = Opened(delivery, replace(photo, data=b""))
        try:
            opened = replace(opened, collection=await self._collection(photo))
            return await self._prepared(opened, photo)
        except Unavailable as error:
            if delivery.count >= self._max_deliveries:
                return opened.with_outcome(ItemState.FAILED, error)
            await settle(delivery.nack)
            return None
        except BlindsightError as error:
            return opened.with_outcome(ItemState.FAILED, error)

    async def _collection(self, photo: QueuedPhoto) -> OpenCollection:
        return await patiently("storage", lambda: self._vault.get_by_id(photo.collection_id))

    async def _prepared(self, opened: Opened, photo: QueuedPhoto) -> Opened:
        """Embeds and seals it, unless it is in storage.

        Raises:
            Unavailable: when it killed its process, alone too.
            BlindsightError: what is wrong with the photo.
        """
        if opened.collection is None:
            raise NotFound("the collection is gone: it was deleted")
        collection = opened.collection
        item_id = photo.id or await asyncio.to_thread(collection.content_id, photo.data)
        handle = collection.handle(item_id)
        known = await patiently(
            "storage", lambda: self._storage.get_items(collection.record.collection_id, [handle])
        )
        if known:
            metadata = collection.open_metadata(known[handle])
            return opened.with_outcome(state_of(metadata.origin, opened.origin))
        file = Photo(photo.number, photo.name, photo.data, photo.id)
        return replace(opened, prepared=await self._prepare(collection, file, item_id, opened.origin))

    async def _prepare(self, collection: OpenCollection, file: Photo, item_id: str, of: str) -> PreparedPhoto:
        """Beside others first; when a process dies, alone: else its neighbours would be blamed too."""
        for turn in (self._room.one(), self._room.all()):
            async with turn:
                try:
                    return await photos.prepare(self._crypto, collection, file, item_id, origin=of)
                except Unavailable:
                    logs.get().warning("process_died_over_a_photo")
        raise Unavailable("the photo killed the process that decoded it, again and again")


def origin(delivery: Delivery) -> str:
    """The mark of a message on the item that it brings."""
    return delivery.message.message_id.hex()


def state_of(found: str, wanted: str) -> ItemState:
    """What became of an item that is in storage: this message brought it, or somebody else did."""
    return ItemState.DONE if found == wanted else ItemState.DUPLICATE


class Room:
    """Lets several in at a time, or one alone."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._free = asyncio.Semaphore(places)
        self._alone = asyncio.Lock()

    def one(self) -> asyncio.Semaphore:
        """A place among others."""
        return self._free

    @asynccontextmanager
    async def all(self) -> AsyncIterator[None]:
        """The whole room."""
        async with AsyncExitStack() as taken:
            await taken.enter_async_context(self._alone)
            for _ in range(self._places):
                await taken.enter_async_context(self._free)
            yield
