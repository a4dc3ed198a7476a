"""Where the bytes lie.

A store is one package here and one row in `STORES`; the suite over `Store` then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

from blindsight.packing.segments import SegmentId
from blindsight.wire.storage import (
    Appended,
    AppendHeader,
    AttachmentHeader,
    BatchHeader,
    Deleted,
    LogHeader,
    OriginalHeader,
    PieceHeader,
    PlanesHeader,
    SlotPage,
    StoredCollection,
    StoredItem,
)
from services.storage.records import Append, StoreStatus
from services.storage.stores.sqlite import SqliteStore


class Store(Protocol):
    """Durable, transactional, blocking.  Safe to use from several threads.

    What a writing method changed is on the disk when it returns; a method that raises changed
    nothing.  Arguments have passed `checks`; a store checks what depends on stored state.

    The reading generators see one snapshot each, however slowly they are read, and let go of it when
    they are closed.  They verify the SHA-256 of what they hand out before they hand out its end.

    All methods raise NotFound for an unknown collection, DataLoss when stored bytes are not what was
    written, ResourceExhausted when the disk is full, and Unavailable when it does not answer.
    """

    def create_collection(self, record: StoredCollection) -> StoredCollection:
        """Adds a collection, or returns the one that has its id.

        Raises:
            AlreadyExists: when the name tag is taken, or the id by a collection with other parameters.
        """

    def get_collection(self, collection_id: bytes) -> StoredCollection:
        """One collection."""

    def list_collections(self, after: int, limit: int) -> tuple[list[StoredCollection], int]:
        """Collections in the order of creation, and where the next page starts (0: at the end).

        A page is shorter than `limit` where it would not fit into a message.
        """

    def replace_config(self, collection_id: bytes, sealed_config: bytes) -> None:
        """Replaces the sealed settings of a collection that was never written to.

        Raises:
            Conflict: when it was.
        """

    def delete_collection(self, collection_id: bytes) -> None:
        """Removes a collection; `sweep` then frees its bytes."""

    def admit(self, header: AppendHeader) -> StoredCollection | Appended:
        """Tells before an append is received what will become of it.

        Returns:
            The collection, or the answer that the same batch got before.

        Raises:
            Conflict: when the collection is not at the expected sequence.
        """

    def stage(self, upload: bytes, piece: PieceHeader, data: bytes) -> None:
        """Keeps the next piece of planes for the append of an upload, which makes it an item's.

        Until then nobody can read it, and it does not outlive the process: opening a store drops what
        is staged.
        """

    def discard(self, upload: bytes) -> None:
        """Drops what is staged for an upload; `sweep` then frees the bytes."""

    def append(self, append: Append) -> Appended:
        """Stores a batch as a whole, with what is staged for it; a repeated batch id changes nothing.

        Raises:
            Conflict: when the collection is not at the expected sequence.
            AlreadyExists: when a handle is live outside of what the batch retires.
            InvalidArgument: when the slots are not the next free ones, or an item would get lost.
            ResourceExhausted: when the segment has as many batches as its noise allows.
        """

    def read_batches(
        self, collection_id: bytes, after_sequence: int, only: Sequence[SegmentId]
    ) -> Generator[LogHeader | BatchHeader | bytes, None, None]:
        """The log, then each batch followed by the chunks of its block."""

    def read_slots(self, collection_id: bytes) -> Generator[SlotPage, None, None]:
        """The slot map; at least one page."""

    def get_items(self, collection_id: bytes, handles: Sequence[bytes]) -> list[StoredItem]:
        """Items that are live, in the order of the handles.

        Raises:
            ResourceExhausted: when they do not fit into one message.
        """

    def read_original(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[OriginalHeader | bytes, None, None]:
        """A sealed original and its chunks.

        Raises:
            NotFound: also when the item is unknown or has no original.
        """

    def read_attachments(
        self, collection_id: bytes, handles: Sequence[bytes]
    ) -> Generator[AttachmentHeader | bytes, None, None]:
        """Items' sealed attachments, each followed by its chunks; items without one are left out."""

    def read_planes(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[PlanesHeader | PieceHeader | bytes, None, None]:
        """An item's encrypted pixel planes, then each piece followed by its chunks.

        Raises:
            NotFound: also when the item is unknown or has no planes.
        """

    def delete_items(self, collection_id: bytes, handles: Sequence[bytes]) -> Deleted:
        """Makes live items tombstones; `sweep` then frees the bytes of what they had."""

    def sweep(self) -> bool:
        """Frees some of the bytes that nothing refers to any more; true while there are more.

        Large deletions go in slices, so that appends get their turn in between.
        """

    def status(self) -> StoreStatus:
        """Counts and sizes."""

    def close(self) -> None:
        """Lets go of everything."""


STORES: dict[str, Callable[[Path, int], Store]] = {"sqlite": SqliteStore}
"""Opens a store in a folder of its own, which may take at most so many bytes (0: no limit)."""
