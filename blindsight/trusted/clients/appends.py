"""The messages of an append to storage: a header, and the rest once storage asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any

from blindsight.errors import BlindsightError
from blindsight.packing.planes import PlaneLayout
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime import transfer
from blindsight.trusted.records import NewItem
from blindsight.wire import storage as wire

_ITEM_MESSAGE_BYTES = 512 << 10  # a multiple of a handle's
# Bytes of an item in a message beside its metadata: a handle, a digest, a version and a little framing.
_ITEM_FRAMING_BYTES = 90
# Longer than storage lets an append wait in its queue.
_GO_AHEAD_SECONDS = 10.0

# Encrypts an item's planes, piece by piece, and seals them.
EncryptPlanes = Callable[[NewItem], AsyncGenerator[bytes, None]]


def _item_messages(items: Sequence[NewItem]) -> Iterator[storage_pb2.AppendRequest]:
    """Yields items in messages of bounded size."""
    for bare, group in groupby(items, key=_is_bare):
        make = _bare_parts if bare else _full_parts
        for part in make(group):
            yield wire.APPEND.to_message(part)


def _is_bare(item: NewItem) -> bool:
    """Returns whether an item is nothing but a handle."""
    sealed = item.sealed_metadata or item.sealed_original or item.sealed_keypoints
    return not (sealed or item.planes or item.version)


def _bare_parts(items: Iterable[NewItem]) -> Iterator[wire.AppendItems]:
    handles = b"".join(item.handle for item in items)
    for start in range(0, len(handles), _ITEM_MESSAGE_BYTES):
        yield wire.AppendItems(handles=handles[start : start + _ITEM_MESSAGE_BYTES])


def _full_parts(items: Iterable[NewItem]) -> Iterator[wire.AppendItems]:
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
                version=item.version,
            )
        )
        if size > _ITEM_MESSAGE_BYTES:
            yield wire.AppendItems(tuple(group))
            group, size = [], 0
    if group:
        yield wire.AppendItems(tuple(group))


class AppendParts:
    """The messages of one attempt at an append.

    Attributes:
        call: the gRPC call that sends them; it must be set before messages after the header are made.
        error: the error raised while a message was made; gRPC then cancels the call without reporting it.
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
        """Yields the header, items, blocks, originals, keypoints, and the planes as they are encrypted."""
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
        """Waits until storage answers the header; returns whether it wants the rest."""
        try:
            async with asyncio.timeout(_GO_AHEAD_SECONDS):
                told = await self.call.initial_metadata()
        except TimeoutError:
            return True  # storage of an earlier version sends nothing before its answer
        return transfer.GO_AHEAD_KEY in told

    async def _pieces(self) -> AsyncIterator[bytes]:
        for item in self._items:
            if item.planes is not None and self._encrypt_planes is not None:
                async with aclosing(self._encrypt_planes(item)) as pieces:
                    async for piece in pieces:
                        yield piece


def _planes(layout: PlaneLayout) -> wire.Planes:
    return wire.Planes(layout.width, layout.height, layout.channels, layout.halo)
