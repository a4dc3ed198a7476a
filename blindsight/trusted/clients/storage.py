"""The client of storage: collections, writes and leases, beside what it reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

from blindsight.errors import DataLoss, Fenced, NotFound
from blindsight.packing.segments import Placement, SegmentId
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.peer import USUAL, Connection
from blindsight.trusted.clients import timeouts
from blindsight.trusted.clients.appends import AppendParts, EncryptPlanes
from blindsight.trusted.clients.fencing import FENCED, Fence
from blindsight.trusted.clients.naming import renamed
from blindsight.trusted.clients.reading import PAGE, StorageReader, in_no_order, storage_pace
from blindsight.trusted.records import NewItem, PeerStatus
from blindsight.wire import storage as wire


class StorageClient(StorageReader):
    """A client of storage.  Calls are repeated while it is unavailable; repetition has no further effect.

    Args:
        address: HOST:PORT.
        connection: how to connect.
        fence: gives the fencing tokens of writes; None: there is no lease.

    Attributes:
        fence: the same.
    """

    def __init__(
        self,
        address: str,
        connection: Connection = USUAL,
        fence: Fence | None = None,
    ) -> None:
        super().__init__(address, connection)
        self.fence = fence or Fence()

    def fenced_by(self, fence: Fence) -> StorageClient:
        """Returns a client that shares the connection, and writes with the tokens of another fence."""
        other = copy(self)
        other.fence = fence
        return other

    async def _write(
        self, rpc: Callable[..., Awaitable[Any]], request: Any, seconds: float | None = None
    ) -> Any:
        request.fencing_token = await self.fence.token()
        with self._fenced():
            return await self._call(rpc, request, seconds)

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        """Tells the fence if storage refuses a token in the block."""
        try:
            yield
        except Fenced as error:
            self.fence.lost()
            raise Fenced(FENCED) from error

    async def create_collection(self, collection: wire.StoredCollection) -> wire.StoredCollection:
        """Creates a collection.

        Raises:
            AlreadyExists: if the name's tag is taken.
            Fenced: if another keyholder has taken over, as all methods that write.
        """
        request = storage_pb2.CreateCollectionRequest(collection=collection.to_message())
        answer = await self._write(self._peer.stub.CreateCollection, request)
        return wire.StoredCollection.from_message(answer.collection)

    async def get_collection(self, collection_id: bytes) -> wire.StoredCollection:
        """Returns one collection's current record."""
        request = storage_pb2.GetCollectionRequest(collection_id=collection_id)
        answer = await self._call(self._peer.stub.GetCollection, request)
        return replace(wire.StoredCollection.from_message(answer.collection), collection_id=collection_id)

    async def list_collections(self) -> list[wire.StoredCollection]:
        """Returns the collections of all owners."""
        found: list[wire.StoredCollection] = []
        token = ""
        while True:
            request = storage_pb2.ListCollectionsRequest(page_size=PAGE, page_token=token)
            answer = await self._call(self._peer.stub.ListCollections, request)
            found += map(wire.StoredCollection.from_message, answer.collections)
            token = answer.next_page_token
            if not token:
                return found

    async def replace_config(
        self, collection_id: bytes, name_tag: bytes, sealed_config: bytes, link: wire.Link
    ) -> None:
        """Gives a collection another name tag and other sealed settings.

        Args:
            link: of this write.

        Raises:
            Conflict: if the collection is not in the state before the link.
            AlreadyExists: if another collection has the name tag.
        """
        request = wire.Settings(collection_id, name_tag, sealed_config, link).to_message()
        _require_taken(await self._write(self._peer.stub.ReplaceConfig, request), link)

    async def truncate_collection(self, collection_id: bytes, link: wire.Link) -> None:
        """Removes all items of a collection.

        Args:
            link: of this write.

        Raises:
            Conflict: if the collection is not in the state before the link.
        """
        request = wire.Truncation(collection_id, link).to_message()
        answer = await self._write(self._peer.stub.TruncateCollection, request, timeouts.DELETE_SECONDS)
        _require_taken(answer, link)

    async def delete_collection(self, collection_id: bytes) -> None:
        """Deletes a collection."""
        request = storage_pb2.DeleteCollectionRequest(
            collection_id=collection_id, fencing_token=await self.fence.token()
        )
        tries = 0

        async def attempt() -> None:
            nonlocal tries
            tries += 1
            await self._peer.stub.DeleteCollection(
                request, metadata=renamed("storage"), timeout=timeouts.DELETE_SECONDS
            )

        try:
            with self._fenced():
                await self._peer.call(attempt)
        except NotFound:
            if tries == 1:
                raise

    async def take_turn(self, collection_id: bytes, batch_id: bytes) -> int:
        """Waits until a batch is at the head of storage's queue, or for storage's time limit.

        Returns:
            the collection's sequence then.

        Raises:
            NotFound: if the collection does not exist.
        """
        request = storage_pb2.TakeTurnRequest(collection_id=collection_id, batch_id=batch_id)
        answer = await self._call(self._peer.stub.TakeTurn, request)
        return int(answer.sequence)

    async def append(
        self,
        collection_id: bytes,
        batch_id: bytes,
        link: wire.Link,
        placements: Sequence[Placement],
        blocks: Sequence[bytes],
        digests: Sequence[bytes],
        items: Sequence[NewItem],
        retires: Sequence[SegmentId] = (),
        encrypt_planes: EncryptPlanes | None = None,
        *,
        replaces: Sequence[bytes] = (),
    ) -> None:
        """Appends a batch in storage's queue, all of it or nothing; repeated while storage is unavailable.

        Args:
            batch_id: 16 random bytes.  After a conflict the batch may come again under the same id, and is
                then served before others.
            link: of this write.
            placements: the slots of the items, piece by piece; none for a batch that only retires segments.
            blocks, digests: one for each placement, and its SHA-256.
            encrypt_planes: encrypts items' planes in pieces, anew for every attempt, as they are not kept.
            replaces: handles of live items that are deleted in the same write.

        Raises:
            Conflict: if the collection is not in the state before the link.
            AlreadyExists: if one of the items exists.
            Unavailable: if storage stays unavailable.
            DataLoss: if storage says that it has taken another write.
        """
        expected_sequence = link.sequence - max(len(placements), 1)
        placed = zip(placements, blocks, digests, strict=True)
        batches = tuple(_batch(sequence, *one) for sequence, one in enumerate(placed, expected_sequence + 1))
        token = await self.fence.token()
        header = wire.AppendHeader(
            collection_id,
            batch_id,
            expected_sequence,
            batches,
            link,
            tuple(retires),
            token,
            b"".join(in_no_order(replaces)),
        )

        async def attempt() -> storage_pb2.AppendResponse:
            parts = AppendParts(header, blocks, items, encrypt_planes)
            pace = storage_pace()
            parts.call = self._peer.stub.Append(pace.sending(parts.stream()), metadata=renamed("storage"))
            try:
                answer: storage_pb2.AppendResponse = await pace.wait(parts.call)
            except asyncio.CancelledError:
                if parts.error is not None:
                    raise parts.error from None
                raise
            return answer

        with self._fenced():
            answer = wire.Appended.from_message(await self._peer.call(attempt))
        if (answer.sequence, answer.epoch) != (link.sequence, link.epoch):
            raise DataLoss(f"storage has taken write {answer.sequence}, want {link.sequence}")

    async def delete_items(self, collection_id: bytes, handles: Sequence[bytes], link: wire.Link) -> None:
        """Deletes live items.

        Args:
            link: of this write.

        Raises:
            Conflict: if the collection is not in the state before the link.
        """
        request = wire.Deletion(collection_id, tuple(in_no_order(handles)), link).to_message()
        await self._write(self._peer.stub.DeleteItems, request)

    async def update_items(
        self, collection_id: bytes, items: Sequence[wire.ItemUpdate], link: wire.Link
    ) -> None:
        """Gives live items other sealed metadata.

        Args:
            link: of this write.

        Raises:
            Conflict: if the collection is not in the state before the link.
        """
        ordered = tuple(sorted(items, key=lambda item: item.handle))
        request = wire.Update(collection_id, ordered, link).to_message()
        _require_taken(await self._write(self._peer.stub.UpdateItems, request), link)

    async def take_lease(self, key_id: bytes, holder_id: bytes) -> wire.Lease:
        """Takes the lease of a key set; asks once, as the methods below.

        Returns:
            the lease, or for how long another keyholder has it.
        """
        request = storage_pb2.TakeLeaseRequest(key_id=key_id, holder_id=holder_id)
        return wire.Lease.from_message(await self._once(self._peer.stub.TakeLease, request))

    async def renew_lease(self, key_id: bytes, holder_id: bytes, token: int) -> int:
        """Renews a lease; returns how many milliseconds it lasts.

        Raises:
            Fenced: if another keyholder has taken it.
        """
        request = storage_pb2.RenewLeaseRequest(key_id=key_id, holder_id=holder_id, fencing_token=token)
        with self._fenced():
            return int((await self._once(self._peer.stub.RenewLease, request)).lease_milliseconds)

    async def release_lease(self, key_id: bytes, token: int) -> None:
        """Gives a lease back."""
        await self._once(
            self._peer.stub.ReleaseLease, storage_pb2.ReleaseLeaseRequest(key_id=key_id, fencing_token=token)
        )

    async def _once(self, rpc: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """Makes a short call that its caller repeats."""
        with self._peer.errors():
            return await rpc(request, metadata=renamed("storage"), timeout=timeouts.STATUS_SECONDS)

    async def status(self) -> PeerStatus:
        """Returns storage's version, counts and sizes."""
        answer = await self._once(self._peer.stub.GetStatus, storage_pb2.GetStatusRequest())
        said = wire.StorageStatus.from_message(answer)
        return PeerStatus(said.version, said.collections, said.items, said.disk_bytes, said.memory_bytes)

    async def close(self) -> None:
        """Closes the connection."""
        await self._peer.close()


def _require_taken(answer: Any, link: wire.Link) -> None:
    if answer.sequence != link.sequence:
        raise DataLoss(f"storage has taken write {answer.sequence}, want {link.sequence}")


def _batch(sequence: int, placement: Placement, block: bytes, sha256: bytes) -> wire.BatchHeader:
    segment = SegmentId(placement.region, placement.index)
    return wire.BatchHeader(sequence, segment, placement.first_slot, placement.count, len(block), sha256)
