"""Stores of ciphertexts and sealed bytes.

A store is one package here and one row in `STORES`; the test suite of `Store` then covers it.
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
    Deletion,
    LogHeader,
    OriginalHeader,
    PieceHeader,
    PlanesHeader,
    Settings,
    SlotPage,
    StoredCollection,
    StoredItem,
    Truncation,
    Update,
    Updated,
)
from services.storage.records import Append, StoreStatus
from services.storage.stores.sqlite import SqliteStore


class Store(Protocol):
    """A durable, transactional, blocking store.  Safe to use from several threads.

    What a writing method changed is on the disk when it returns; a method that raises changed
    nothing.  Arguments have passed `validation`; a store checks what depends on stored state.

    Each reading generator sees one snapshot, however slowly it is read, and releases it when it is
    closed.  It verifies the SHA-256 of stored bytes before it yields their last chunk.

    What writes to a collection takes the fencing token of the keyholder for which it is done, and raises
    Fenced if there is a newer one.

    All methods raise NotFound for an unknown collection, DataLoss if stored bytes are not what was
    written, ResourceExhausted if the disk is full, and Unavailable if it does not answer.
    """

    def create_collection(self, record: StoredCollection, token: int = 0) -> StoredCollection:
        """Adds a collection, or returns the one that already has its id.

        Raises:
            AlreadyExists: if the name tag is taken, or a collection with other parameters has the id.
        """

    def get_collection(self, collection_id: bytes) -> StoredCollection:
        """Returns a collection."""

    def list_collections(self, after: int, limit: int) -> tuple[list[StoredCollection], int]:
        """Returns collections in the order of creation, and where the next page starts (0: no more pages).

        A page is shorter than `limit` if it would not fit into a message.
        """

    def replace_config(self, settings: Settings) -> int:
        """Gives a collection another name tag and sealed settings; returns the sequence after it.

        A repeated link changes nothing.

        Raises:
            Conflict: if the collection is not in the state before the link.
            AlreadyExists: if another collection has the name tag.
        """

    def delete_collection(self, collection_id: bytes, token: int = 0) -> None:
        """Removes a collection; `sweep` then frees its bytes."""

    def admit(self, header: AppendHeader) -> StoredCollection | Appended:
        """Checks the header of an append before its bytes are received.

        Returns:
            The collection, or the earlier answer if the same batch was stored before.

        Raises:
            Conflict: if the collection is not at the expected sequence, or has another history.
        """

    def stage(self, upload: bytes, piece: PieceHeader, data: bytes) -> None:
        """Keeps the next piece of planes of an upload, until the append of that upload gives it to an item.

        Until then it cannot be read, and it does not outlive the process: opening a store drops what
        is staged.
        """

    def discard(self, upload: bytes) -> None:
        """Drops what is staged for an upload; `sweep` then frees the bytes."""

    def append(self, append: Append) -> Appended:
        """Stores an append as a whole, with the planes staged for it; a repeated batch id changes nothing.

        Raises:
            Conflict: if the collection is not at the expected sequence, or has another history.
            AlreadyExists: if a handle is live outside of the segments that the append retires, and the append
                does not replace items.
            InvalidArgument: if the slots are not the next free ones, or an item would get lost.
            ResourceExhausted: if a segment has `MAX_BATCHES_PER_SEGMENT` batches already.
        """

    def read_batches(
        self, collection_id: bytes, after_sequence: int, only: Sequence[SegmentId]
    ) -> Generator[LogHeader | BatchHeader | bytes, None, None]:
        """Yields the log's header, then each batch followed by the chunks of its block.

        Empty `only` means all segments.
        """

    def read_slots(self, collection_id: bytes, after_sequence: int) -> Generator[SlotPage, None, None]:
        """Yields the links after a sequence, the newest in any case, then the slot map; at least one page."""

    def get_items(self, collection_id: bytes, handles: Sequence[bytes]) -> list[StoredItem]:
        """Returns the items that are live, in the order of the handles.

        Raises:
            ResourceExhausted: if they do not fit into one message.
        """

    def read_original(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[OriginalHeader | bytes, None, None]:
        """Yields the header of a sealed original, then its chunks.

        Raises:
            NotFound: also if the item is unknown or has no original.
        """

    def read_attachments(
        self, collection_id: bytes, handles: Sequence[bytes]
    ) -> Generator[AttachmentHeader | bytes, None, None]:
        """Yields the header of each sealed attachment followed by its chunks; skips items without one."""

    def read_planes(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[PlanesHeader | PieceHeader | bytes, None, None]:
        """Yields the header of an item's encrypted pixel planes, then each piece followed by its chunks.

        Raises:
            NotFound: also if the item is unknown or has no planes.
        """

    def delete_items(self, deletion: Deletion) -> Deleted:
        """Marks live items as deleted; `sweep` then frees their bytes.  A repeated link changes nothing.

        Raises:
            Conflict: if the collection is not in the state before the link.
            InvalidArgument: if one of the items is not live.
        """

    def truncate_collection(self, truncation: Truncation) -> int:
        """Removes all items and retires all segments; returns the sequence after it.

        `sweep` then frees their bytes.  A repeated link changes nothing.

        Raises:
            Conflict: if the collection is not in the state before the link.
        """

    def update_items(self, update: Update) -> Updated:
        """Gives live items other metadata and versions.  A repeated link changes nothing.

        Raises:
            Conflict: if the collection is not in the state before the link.
            InvalidArgument: if one of the items is not live.
        """

    def lease(self, key_id: bytes) -> tuple[int, bytes]:
        """Returns a key set's newest fencing token, 0 for none, and its holder, empty if there is none."""

    def take_lease(self, key_id: bytes, holder_id: bytes) -> int:
        """Gives the lease of a key set to a holder; returns its fencing token, which is over all before.

        Raises:
            ResourceExhausted: if there are no more tokens.
        """

    def renew_lease(self, key_id: bytes, holder_id: bytes, token: int) -> None:
        """Notes a holder of the lease, and a token that a restored backup may not know.

        Raises:
            Fenced: if there is a newer token.
        """

    def release_lease(self, key_id: bytes, token: int) -> None:
        """Gives a lease back; does nothing if there is a newer token."""

    def sweep(self) -> bool:
        """Frees some of the bytes that nothing refers to any more; returns whether there are more.

        Large deletions are freed in slices, so that appends run in between.
        """

    def status(self) -> StoreStatus:
        """Returns the store's counts and sizes."""

    def close(self) -> None:
        """Closes the store."""


STORES: dict[str, Callable[[Path, int, int], Store]] = {"sqlite": SqliteStore}
"""Functions that open a store in a folder of its own, with largest size and reserve in bytes (0: none)."""
