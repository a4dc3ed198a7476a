"""The log of a collection as storage streams it, and its checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from blindsight.errors import DataLoss
from blindsight.packing.segments import SegmentId
from blindsight.packing.tiling import Tiling
from blindsight.wire.storage import DIGEST_BYTES, NO_CHAIN, BatchHeader, LogHeader, LogPart
from services.evaluator.geometry import AnyRecord, CollectionRecord


def check_batch(batch: BatchHeader, record: AnyRecord) -> None:
    """Refuses a batch that cannot belong to this collection, before any of it is read.

    Raises:
        DataLoss: if the batch has another size or digest size, or slots beyond the segment.
    """
    layout = record.layout.of(batch.segment.region)
    wanted = record.batch_bytes(batch.segment.region)
    if batch.block_size_bytes != wanted or len(batch.block_sha256) != DIGEST_BYTES:
        raise DataLoss(f"storage holds a batch of {batch.block_size_bytes} bytes, want {wanted}")
    if batch.count < 1 or batch.first_slot + batch.count > layout.capacity:
        raise DataLoss(f"storage holds a batch beyond slot {layout.capacity}")


def fills(batch: BatchHeader, record: AnyRecord) -> bool:
    """Returns whether a batch fills its segment, so that no other can follow."""
    return batch.first_slot + batch.count == record.layout.of(batch.segment.region).capacity


class LogCheck:
    """A check that all batches of a log come, each once, in order; their blocks are checked elsewhere.

    Args:
        log: announces the batches.
        after_sequence, after_chain: the point of the log after which it was requested.

    Raises:
        DataLoss: if storage's log did not have that point: storage was set back, and written to since.
    """

    def __init__(self, log: LogHeader, after_sequence: int = 0, after_chain: bytes = NO_CHAIN) -> None:
        if log.after_chain != after_chain:
            raise DataLoss("storage has another history of the collection than the one that is known")
        self._log = log
        self._sequence = after_sequence
        self._whole = after_sequence == 0
        self._batches = self._size_bytes = 0
        self._filled: dict[SegmentId, int] = {}

    def take(self, batch: BatchHeader) -> None:
        """Records the next batch.

        Raises:
            DataLoss: if it is out of order, or does not continue its segment.
        """
        if not self._sequence < batch.sequence <= self._log.sequence:
            raise DataLoss(f"storage sent batch {batch.sequence} of its log after {self._sequence}")
        # Slots that were filled before the log begins are not known here.
        before = self._filled.get(batch.segment, 0 if self._whole else batch.first_slot)
        if batch.first_slot != before:
            raise DataLoss(f"storage sent a batch from slot {batch.first_slot}, want {before}")
        self._sequence = batch.sequence
        self._filled[batch.segment] = before + batch.count
        self._batches += 1
        self._size_bytes += batch.block_size_bytes

    def end(self) -> None:
        """Ends the check of the log.

        Raises:
            DataLoss: if not all announced batches came.
        """
        if (self._batches, self._size_bytes) != (self._log.batches, self._log.size_bytes):
            raise DataLoss(
                f"storage sent {self._batches} batches of {self._size_bytes} bytes, want {self._log.batches} "
                f"of {self._log.size_bytes}"
            )


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """A piece of a photo's planes: a seeded block of tiles whose digest is verified."""

    block: bytes


PlaneEvent = Tiling | StoredPiece


class Storage(Protocol):
    """The interface of storage, as the evaluator uses it."""

    async def get_collection(self, collection_id: bytes) -> AnyRecord:
        """Returns a collection's record.

        Raises:
            NotFound: if there is no such collection.
            Unavailable: if storage does not answer.
        """

    async def list_collections(self) -> list[AnyRecord]:
        """Returns the records of all collections, oldest first.

        Raises:
            Unavailable: if storage does not answer.
        """

    def read_batches(
        self, collection_id: bytes, after_sequence: int
    ) -> AbstractAsyncContextManager[AsyncIterator[LogPart]]:
        """Opens the log after a sequence: a `LogHeader`, then batches, each a `BatchHeader` and chunks.

        Raises:
            NotFound, Unavailable, DataLoss: if storage raises them, also while the log is read.
        """

    def read_planes(
        self, record: CollectionRecord, handle: bytes
    ) -> AbstractAsyncContextManager[AsyncIterator[PlaneEvent]]:
        """Opens a photo's encrypted planes: their `Tiling`, then its pieces.

        Raises:
            NotFound, Unavailable, DataLoss: if storage raises them, also while the planes are read.
        """
