"""An append on its way to storage: a header, and the rest when storage wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from blindsight.errors import BlindsightError
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime import transfer
from blindsight.trusted.records import NewItem
from blindsight.wire import storage as wire

_ITEM_MESSAGE_BYTES = 512 << 10
# Items a message: each costs a handle, a digest and a little framing beside its metadata.
_ITEM_FRAMING_BYTES = 80
# Longer than storage lets anybody wait for a turn.
_GO_AHEAD_SECONDS = 10.0

# Tiles [count, N] to blocks of them, piece by piece.
EncryptPlanes = Callable[[Integers], AsyncGenerator[bytes, None]]


def _item_messages(items: Sequence[NewItem]) -> Iterator[storage_pb2.AppendRequest]:
    """Items in messages of bounded size."""
    group: list[wire.AppendItem] = []
    size = 0
    for item in items:
        size += len(item.sealed_metadata) + _ITEM_FRAMING_BYTES
        original, keypoints = item.sealed_original, item.sealed_keypoints
        group.append(
            wire.AppendItem(
                handle=item.handle,
                sealed_metadata=item.sealed_metadata,
                original_size_bytes=len(original),
                original_sha256=transfer.digest(original) if original else b"",
                planes=_planes(item.planes.layout) if item.planes is not None else None,
                attachment_size_bytes=len(keypoints),
                attachment_sha256=transfer.digest(keypoints) if keypoints else b"",
            )
        )
        if size > _ITEM_MESSAGE_BYTES:
            yield wire.APPEND.to_message(wire.AppendItems(tuple(group)))
            group, size = [], 0
    if group:
        yield wire.APPEND.to_message(wire.AppendItems(tuple(group)))


class AppendParts:
    """One attempt's messages of an append.

    Attributes:
        call: that they are sent with; the first message is not made before it is there.
        error: what making a message raised; gRPC then cancels the call and says nothing of it.
    """

    def __init__(
        self,
        header: wire.AppendHeader,
        blocks: Sequence[bytes],
        items: Sequence[NewItem],
        encrypt_planes: EncryptPlanes | None,
    ) -> None:
        self._header = header
        self._blocks = blocks
        self._items = items
        self._encrypt_planes = encrypt_planes
        self.call: Any = None
        self.error: BlindsightError | None = None

    async def stream(self) -> AsyncIterator[storage_pb2.AppendRequest]:
        """The header, items, blocks, originals, keypoints, and the planes as they are encrypted."""
        yield wire.APPEND.to_message(self._header)
        if not await self._wanted():
            return
        for message in await asyncio.to_thread(lambda: list(_item_messages(self._items))):
            yield message
        originals = (item.sealed_original for item in self._items)
        keypoints = (item.sealed_keypoints for item in self._items)
        for chunk in transfer.joined_chunks((*self._blocks, *originals, *keypoints)):
            yield wire.APPEND.to_message(chunk)
        try:
            async for piece in self._pieces():
                digest = await asyncio.to_thread(transfer.digest, piece)
                yield wire.APPEND.to_message(wire.PieceHeader(len(piece), digest))
                for chunk in transfer.chunks(piece):
                    yield wire.APPEND.to_message(chunk)
        except BlindsightError as error:
            self.error = error
            raise

    async def _wanted(self) -> bool:
        """Waits for storage to say that it wants more than the header."""
        try:
            async with asyncio.timeout(_GO_AHEAD_SECONDS):
                told = await self.call.initial_metadata()
        except TimeoutError:
            return True  # storage of an earlier version says nothing before its answer
        return transfer.GO_AHEAD_KEY in told

    async def _pieces(self) -> AsyncIterator[bytes]:
        for item in self._items:
            if item.planes is not None and self._encrypt_planes is not None:
                async with aclosing(self._encrypt_planes(item.planes.tiles)) as pieces:
                    async for piece in pieces:
                        yield piece


def _planes(layout: PlaneLayout) -> wire.Planes:
    return wire.Planes(layout.width, layout.height, layout.channels, layout.halo)
