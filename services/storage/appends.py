"""Receives appends: checks announced sizes before it takes bytes, and bytes before it stores them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from blindsight.errors import InvalidArgument, ResourceExhausted, Unavailable
from blindsight.packing.tiling import Tiling
from blindsight.parameters import of_ring
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.transfer import Receiver
from blindsight.wire.storage import (
    ID_BYTES,
    Appended,
    AppendHeader,
    AppendItem,
    AppendItems,
    AppendPart,
    BatchHeader,
    PieceHeader,
    StoredCollection,
)
from services.storage import metrics, validation
from services.storage.append_queue import AppendQueues
from services.storage.executors import Threads
from services.storage.garbage import Sweeper
from services.storage.records import Append
from services.storage.stores import Store

# Appends received at a time; the metadata of their items is not counted by the memory budget.
_AT_A_TIME = 16

_UPLOAD_BYTES = 16


class Appends:
    """The receiver of appends to a store.

    Args:
        store: stores the appends.
        threads: run the store's calls.
        sweeper: starts after an append that retired segments, and frees what a failed one left.
        budget: memory for appends that are being received.
        queues: the order of the appends to one collection.
        stall_seconds: an append that sends nothing for this long is aborted.
    """

    def __init__(
        self,
        store: Store,
        threads: Threads,
        sweeper: Sweeper,
        budget: MemoryBudget,
        queues: AppendQueues,
        stall_seconds: float,
    ) -> None:
        self._store = store
        self._threads = threads
        self._sweeper = sweeper
        self._budget = budget
        self._queues = queues
        self._stall_seconds = stall_seconds
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def take_turn(self, collection_id: bytes, batch_id: bytes) -> int:
        """Waits for a batch's turn like `AppendQueues.take`; returns the collection's sequence afterwards.

        Raises:
            NotFound: if there is no such collection.
        """
        await self._threads.read(self._store.get_collection, collection_id)
        await self._queues.take(collection_id, batch_id)
        collection = await self._threads.read(self._store.get_collection, collection_id)
        return collection.sequence

    async def append(
        self, stream: AsyncIterator[AppendPart], go_ahead: Callable[[], Awaitable[None]]
    ) -> Appended:
        """Receives, checks and stores one append; storing it raises the errors of `Store.append`.

        Args:
            go_ahead: tells the sender that its header is accepted and that it may send the rest.

        Raises:
            InvalidArgument: if the parts are not one header, its items and their bytes.
            Unavailable: if the stream stalls.
        """
        parts = _Parts(stream, self._stall_seconds)
        header = await parts.header()
        validation.require_ids(header)
        async with self._queues.of(header.collection_id, header.batch_id):
            collection = await self._threads.read(self._store.admit, header)
            if isinstance(collection, Appended):
                return collection
            validation.require_header(collection, header)
            await go_ahead()
            answer = await self._take(parts, collection, header)
        if header.retires or header.replaces:
            self._sweeper.begin()
        return answer

    async def _take(self, parts: _Parts, collection: StoredCollection, header: AppendHeader) -> Appended:
        async with self._room:
            items = await parts.items(header.items_count)
            validation.require_items(items)
            planes = validation.require_planes(collection, items)
            largest = max((_largest_piece(collection, one) for one in planes), default=0)
            sealed = validation.sealed_bytes(items)
            async with self._budget.reserve(header.block_size_bytes + sealed + largest):
                batch = await self._receive(parts, collection, header, items)
                answer = await self._keep(parts, collection, batch, planes)
        size = sum(one.size_bytes(of_ring(collection.parameters, "planes")) for one in planes)
        metrics.STORED_BYTES.inc(header.block_size_bytes + sealed + size)
        metrics.STORED_ITEMS.inc(len(items))
        return answer

    async def _receive(
        self, parts: _Parts, collection: StoredCollection, header: AppendHeader, items: list[AppendItem]
    ) -> Append:
        intake = _Intake(header, items)
        while not intake.complete:
            intake.add(await parts.chunk())
        return await self._threads.read(intake.finish, collection)

    async def _keep(
        self, parts: _Parts, collection: StoredCollection, batch: Append, planes: Sequence[Tiling]
    ) -> Appended:
        """Stages pieces of planes on disk as they arrive; the append at the end gives them to their items."""
        try:
            for one in planes:
                async for record, data in self._pieces(parts, collection, one):
                    await self._threads.write(self._store.stage, batch.upload, record, data)
            await parts.end()
            return await self._threads.write(self._store.append, batch)
        except BaseException:
            if planes:
                self._sweeper.drop(batch.upload)
            raise

    async def _pieces(
        self, parts: _Parts, collection: StoredCollection, planes: Tiling
    ) -> AsyncIterator[tuple[PieceHeader, bytes]]:
        """Yields the pieces of planes, then their seal, each of its size and form."""
        parameters = of_ring(collection.parameters, "planes")
        for count in planes.pieces:
            record, data = await self._piece(parts, planes.piece_bytes(parameters, count))
            validation.require_seeded(collection, count, data)
            yield record, data
        record, data = await self._piece(parts, planes.seal_bytes(parameters))
        validation.require_sealed(data, "the seal of planes")
        yield record, data

    async def _piece(self, parts: _Parts, size_bytes: int) -> tuple[PieceHeader, bytes]:
        record = await parts.piece()
        validation.require_piece_header(record, size_bytes)
        limit = validation.MAX_PIECE_BYTES
        receiver = Receiver(record.size_bytes, record.sha256, limit_bytes=limit, what="piece")
        while not receiver.complete:
            receiver.add(await parts.chunk())
        return record, await self._threads.read(receiver.finish)


class _Parts:
    """The reader of an append's stream; each method accepts only the kind of part that may come next."""

    def __init__(self, stream: AsyncIterator[AppendPart], stall_seconds: float) -> None:
        self._stream = stream
        self._stall_seconds = stall_seconds

    async def _next(self) -> AppendPart | None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await anext(self._stream, None)
        except TimeoutError as error:
            raise Unavailable(f"nothing came for {self._stall_seconds:g} seconds") from error

    async def header(self) -> AppendHeader:
        part = await self._next()
        if not isinstance(part, AppendHeader):
            raise InvalidArgument(f"append begins with {_name(part)}, want a header")
        return part

    async def items(self, count: int) -> list[AppendItem]:
        items: list[AppendItem] = []
        size = 0
        while len(items) < count:
            part = await self._next()
            if not isinstance(part, AppendItems) or not (part.items or part.handles):
                raise InvalidArgument(f"{_name(part)} after {len(items)} items, want {count} items")
            items.extend(part.items)
            items.extend(map(AppendItem, validation.split_handles(part.handles)))
            size += sum(len(item.sealed_metadata) for item in part.items)
            if size > validation.MAX_METADATA_TOTAL_BYTES:
                raise ResourceExhausted(
                    f"metadata of {size} bytes, want at most {validation.MAX_METADATA_TOTAL_BYTES}"
                )
        if len(items) > count:
            raise InvalidArgument(f"{len(items)} items came, want {count}")
        return items

    async def chunk(self) -> bytes:
        part = await self._next()
        if not isinstance(part, bytes):
            raise InvalidArgument(
                f"{_name(part)}, want a chunk of a block, of an original, an attachment or planes"
            )
        return part

    async def piece(self) -> PieceHeader:
        part = await self._next()
        if not isinstance(part, PieceHeader):
            raise InvalidArgument(f"{_name(part)}, want the header of a piece of planes")
        return part

    async def end(self) -> None:
        part = await self._next()
        if part is not None:
            raise InvalidArgument(f"{_name(part)} after everything that was announced, want the end")


def _largest_piece(collection: StoredCollection, planes: Tiling) -> int:
    parameters = of_ring(collection.parameters, "planes")
    return max(planes.piece_bytes(parameters, planes.pieces[0]), planes.seal_bytes(parameters))


def _name(part: AppendPart | None) -> str:
    if part is None:
        return "the end"
    if isinstance(part, AppendHeader):
        return "a header"
    if isinstance(part, PieceHeader):
        return "the header of a piece"
    count = 0 if isinstance(part, bytes) else len(part.items) + len(part.handles) // ID_BYTES
    return "a chunk" if isinstance(part, bytes) else f"{count} items"


class _Intake:
    """Splits the chunks of an append into its blocks, originals and attachments; a chunk may span several."""

    def __init__(self, header: AppendHeader, items: list[AppendItem]) -> None:
        self._header = header
        self._items = items
        self._blocks = [_block(batch) for batch in header.batches]
        self._originals = [_original(item) for item in items]
        self._attachments = {
            position: _attachment(item) for position, item in enumerate(items) if item.attachment_size_bytes
        }
        expected = *self._blocks, *self._originals, *self._attachments.values()
        self._waiting = [part for part in expected if part is not None]
        self._waiting.reverse()

    @property
    def complete(self) -> bool:
        return not self._waiting

    def add(self, chunk: bytes) -> None:
        if not chunk:
            raise InvalidArgument("an empty chunk, want bytes of a block, of an original or of an attachment")
        rest = memoryview(chunk)
        while rest:
            if not self._waiting:
                raise InvalidArgument(f"{len(rest)} bytes more than announced")
            receiver = self._waiting[-1]
            piece, rest = rest[: receiver.missing_bytes], rest[receiver.missing_bytes :]
            receiver.add(bytes(piece))
            if receiver.complete:
                self._waiting.pop()

    def finish(self, collection: StoredCollection) -> Append:
        """Verifies all digests and formats.

        It may hash hundreds of megabytes, so call it outside of the event loop.
        """
        blocks = tuple(part.finish() for part in self._blocks)
        for batch, block in zip(self._header.batches, blocks, strict=True):
            validation.require_block(collection, batch.segment.region, block)
        originals = tuple(part.finish() if part is not None else b"" for part in self._originals)
        for original in originals:
            if original:
                validation.require_sealed(original, "original")
        attachments = {position: part.finish() for position, part in self._attachments.items()}
        for attachment in attachments.values():
            validation.require_sealed(attachment, "attachment")
        upload = os.urandom(_UPLOAD_BYTES)
        return Append(self._header, tuple(self._items), blocks, originals, upload, attachments)


def _block(batch: BatchHeader) -> Receiver:
    return Receiver(
        batch.block_size_bytes, batch.block_sha256, limit_bytes=validation.MAX_BLOCK_BYTES, what="block"
    )


def _original(item: AppendItem) -> Receiver | None:
    if not item.original_size_bytes:
        return None
    return Receiver(
        item.original_size_bytes,
        item.original_sha256,
        limit_bytes=validation.MAX_ORIGINAL_BYTES,
        what="original",
    )


def _attachment(item: AppendItem) -> Receiver:
    return Receiver(
        item.attachment_size_bytes,
        item.attachment_sha256,
        limit_bytes=validation.MAX_ATTACHMENT_BYTES,
        what="attachment",
    )
