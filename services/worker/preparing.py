"""Turns a message into an item that is ready to be stored, or into a report of why it cannot be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from blindsight.errors import BlindsightError, DataLoss, NotFound, Unavailable
from blindsight.runtime import logs, request_ids
from blindsight.runtime.retry import retry
from blindsight.trusted.ingest import photos
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.ingest.pipeline import Pipeline, PreparedPhoto, identify, is_from
from blindsight.trusted.queue import Delivery
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.workers import ItemReport, ItemState
from services.worker.acknowledging import settle
from services.worker.gate import Gate
from services.worker.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A message whose photo was opened and, if it is to be stored, embedded and sealed.

    Attributes:
        photo: the photo without its data.
        collection: the photo's collection; None if it could not be opened.
        prepared: the item to store; None if there is nothing to store.
        report: the outcome; None until it is known.
    """

    delivery: Delivery
    photo: QueuedPhoto
    collection: OpenCollection | None = None
    prepared: PreparedPhoto | None = None
    report: ItemReport | None = None

    @property
    def origin(self) -> str:
        """The message's id in hex, which its item keeps as `ItemMetadata.origin`."""
        return self.delivery.message.message_id.hex()

    def in_storage(self, *, own: bool, remark: str = "") -> PreparedMessage:
        """Returns a copy with the report that the item is in storage.

        Args:
            own: whether this message brought the item; if not, another photo had its id first.
            remark: on the item.
        """
        state = ItemState.DONE if own else ItemState.DUPLICATE
        return self._told(state, message=remark)

    def with_outcome(self, state: ItemState, error: BlindsightError | None = None) -> PreparedMessage:
        """Returns a copy with a report, and with nothing to store any more."""
        return self._told(state, error.reason, error.message) if error is not None else self._told(state)

    def _told(self, state: ItemState, reason: str = "", message: str = "") -> PreparedMessage:
        report = ItemReport(self.photo.job_id, self.photo.number, state, reason, message)
        return replace(self, prepared=None, report=report)


class Preparer:
    """The preparation of messages.

    Args:
        envelopes: open messages that are sealed by the owner's key set.
        vault: the collections.
        pipeline: looks photos up, embeds and seals them.
        gate: limits how many photos are prepared at once.
        quarantine: prepares photos that may have killed a process one at a time, behind the same gate.
        require_admitted: raises if the keyholder has other keys than this worker.
    """

    def __init__(
        self,
        envelopes: Envelopes,
        vault: Vault,
        pipeline: Pipeline,
        gate: Gate,
        quarantine: Quarantine,
        require_admitted: Callable[[], Awaitable[None]],
    ) -> None:
        self._require_admitted = require_admitted
        self._envelopes = envelopes
        self._vault = vault
        self._pipeline = pipeline
        self._gate = gate
        self._quarantine = quarantine

    async def prepare(self, delivery: Delivery) -> PreparedMessage | None:
        """Prepares a message.

        Returns:
            The prepared message; None if the message was settled here, because it cannot be opened or because
            a process died and it is to be delivered again.

        Raises:
            PermissionDenied: if it cannot be opened, and keys were rotated: who has the new ones can.
        """
        try:
            size_bytes = len(delivery.message.body)
            photo = await photos.beside_loop(size_bytes, self._envelopes.open, delivery.message)
        except DataLoss:
            await self._require_admitted()
            # The message is another owner's, damaged, or moved from one job to another: no item to report.
            logs.get().warning("message_refused", job=delivery.message.job_id.hex())
            await settle(lambda: delivery.reject(DataLoss.reason))
            return None
        request_ids.current.set(photo.request_id)
        message = PreparedMessage(delivery, replace(photo, data=b""))
        try:
            message = replace(message, collection=await self._collection(photo))
            prepared = await self._prepared(message, photo)
        except BlindsightError as error:
            return message.with_outcome(ItemState.FAILED, error)
        if prepared is None:
            await settle(delivery.nack)
        return prepared

    async def _collection(self, photo: QueuedPhoto) -> OpenCollection:
        return await retry("storage", lambda: self._vault.get_by_id(photo.collection_id))

    async def _prepared(self, message: PreparedMessage, photo: QueuedPhoto) -> PreparedMessage | None:
        """Embeds and seals a photo unless it is in storage; returns None if a process died over it alone.

        Raises:
            Unavailable: if that happened too often.
            BlindsightError: if something is wrong with the photo.
        """
        if message.collection is None:
            raise NotFound("the collection is gone: it was deleted")
        collection = message.collection
        identified = await identify(collection, photo.photo)
        known = await retry("storage", lambda: self._pipeline.find(identified))
        if known is not None:
            identified.claim.require_same(known.metadata)
            remarks = identified.claim.remarks(collection, known.metadata, {})
            return message.in_storage(own=is_from(known, message.origin), remark="; ".join(remarks))
        prepare = partial(self._pipeline.prepare, identified, origin=message.origin)
        prepared = await self._beside_others(prepare) if message.delivery.count == 1 else None
        if prepared is None:
            prepared = await self._quarantine.run(photo, prepare)
        return replace(message, prepared=prepared) if prepared is not None else None

    async def _beside_others(self, prepare: Callable[[], Awaitable[PreparedPhoto]]) -> PreparedPhoto | None:
        """Prepares a photo beside others; returns None if a process died, because of any of them."""
        async with self._gate.shared():
            try:
                return await prepare()
            except Unavailable:
                logs.get().warning("process_died_over_photos")
                return None
