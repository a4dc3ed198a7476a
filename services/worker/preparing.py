"""From a message to an item that is ready to be stored, or to what is wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from blindsight.errors import BlindsightError, DataLoss, NotFound, Unavailable
from blindsight.runtime import logs, request_ids
from blindsight.runtime.retry import retry
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest import photos
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.ingest.lookups import Lookups
from blindsight.trusted.ingest.photos import Photo, PreparedPhoto
from blindsight.trusted.ingest.records import ItemReport, ItemState
from blindsight.trusted.queue import Delivery
from blindsight.trusted.vault.vault import OpenCollection, Vault
from services.worker.acknowledging import settle
from services.worker.gate import Room
from services.worker.quarantine import Trials


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
        lookups: what is in storage already.
        crypto: the processes that decode and embed.
        room: where photos are opened.
        trials: opens those that may have killed somebody; in the same room.
    """

    def __init__(
        self,
        envelopes: Envelopes,
        vault: Vault,
        lookups: Lookups,
        crypto: Crypto,
        room: Room,
        trials: Trials,
    ) -> None:
        self._envelopes = envelopes
        self._vault = vault
        self._lookups = lookups
        self._crypto = crypto
        self._room = room
        self._trials = trials

    async def open(self, delivery: Delivery) -> Opened | None:
        """Opens a message; None when it was settled here: it is not ours, or is to come again."""
        try:
            size_bytes = len(delivery.message.body)
            photo = await photos.beside_loop(size_bytes, self._envelopes.open, delivery.message)
        except DataLoss:
            # A message of another owner, damaged, or moved from one job to another: no item to report.
            logs.get().warning("message_refused", job=delivery.message.job_id.hex())
            await settle(lambda: delivery.reject(DataLoss.reason))
            return None
        request_ids.current.set(photo.request_id)
        opened = Opened(delivery, replace(photo, data=b""))
        try:
            opened = replace(opened, collection=await self._collection(photo))
            prepared = await self._prepared(opened, photo)
        except BlindsightError as error:
            return opened.with_outcome(ItemState.FAILED, error)
        if prepared is None:
            await settle(delivery.nack)
        return prepared

    async def _collection(self, photo: QueuedPhoto) -> OpenCollection:
        return await retry("storage", lambda: self._vault.get_by_id(photo.collection_id))

    async def _prepared(self, opened: Opened, photo: QueuedPhoto) -> Opened | None:
        """Embeds and seals it, unless it is in storage; None when it killed its process, alone too.

        Raises:
            Unavailable: when it did so too often.
            BlindsightError: what is wrong with the photo.
        """
        if opened.collection is None:
            raise NotFound("the collection is gone: it was deleted")
        collection = opened.collection
        item_id = photo.id or await photos.content_id(collection, photo.data)
        handle = collection.handle(item_id)
        known = await retry("storage", lambda: self._lookups.find(collection.record.collection_id, handle))
        if known is not None:
            metadata = collection.open_metadata(known)
            return opened.with_outcome(state_of(metadata.origin, opened.origin))
        file = Photo(photo.number, photo.name, photo.data, photo.id)
        prepare = partial(photos.prepare, self._crypto, collection, file, item_id, origin=opened.origin)
        prepared = await self._beside_others(prepare) if opened.delivery.count == 1 else None
        if prepared is None:
            prepared = await self._trials.run(photo, prepare)
        return replace(opened, prepared=prepared) if prepared is not None else None

    async def _beside_others(self, prepare: Callable[[], Awaitable[PreparedPhoto]]) -> PreparedPhoto | None:
        """None when a process died: nobody knows yet which of them it died of."""
        async with self._room.one():
            try:
                return await prepare()
            except Unavailable:
                logs.get().warning("process_died_over_photos")
                return None


def origin(delivery: Delivery) -> str:
    """The mark of a message on the item that it brings."""
    return delivery.message.message_id.hex()


def state_of(found: str, wanted: str) -> ItemState:
    """What became of an item that is in storage: this message brought it, or somebody else did."""
    return ItemState.DONE if found == wanted else ItemState.DUPLICATE
