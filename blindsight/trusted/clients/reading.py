"""Reading from storage: logs, slots, items, originals, keypoints and planes, all sealed or encrypted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from blindsight.errors import Conflict, DataLoss, ResourceExhausted
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.rpc.storage.v1 import storage_pb2, storage_pb2_grpc
from blindsight.runtime import transfer
from blindsight.runtime.pace import Pace
from blindsight.runtime.peer import USUAL, Connection, Peer, open_call
from blindsight.runtime.roles import Role
from blindsight.trusted.clients import timeouts
from blindsight.trusted.clients.naming import renamed
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes
from blindsight.wire import storage as wire

PAGE = 1000
_MAX_BLOCK_BYTES = 1 << 30
_MAX_ORIGINAL_BYTES = 128 << 20
_MAX_KEYPOINTS_BYTES = 1 << 20


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class LoggedBatch:
    """A batch of the log: its sequence, its place, and its block with its SHA-256."""

    sequence: int
    place: Placement
    block: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SealedLayout:
    """The layout of planes as storage tells it, and the seal that says whether it is theirs."""

    layout: PlaneLayout
    seal: bytes


@dataclass(slots=True)
class _Intact:
    """What was read of a segment so far.

    Attributes:
        found: places and blocks by their first slot.
        after: the sequence after which storage was asked for batches.
        reached: the sequence of the newest batch that storage began to send.
    """

    found: dict[int, tuple[Placement, bytes]] = field(default_factory=dict)
    after: int = 0
    reached: int = 0


# Reads a log from its header and its batches.
ReadLog = Callable[[wire.LogHeader, AsyncIterator[LoggedBatch]], Awaitable[_Result]]


class StorageReader:
    """What is read of storage's collections.  Reads are repeated while it is unavailable.

    Args:
        address: HOST:PORT.
        connection: how to connect.
    """

    def __init__(self, address: str, connection: Connection = USUAL) -> None:
        self._peer = Peer(Role.STORAGE, address, storage_pb2_grpc.StorageServiceStub, connection)

    async def _call(
        self, rpc: Callable[..., Awaitable[Any]], request: Any, seconds: float | None = None
    ) -> Any:
        limit = seconds or timeouts.CALL_SECONDS
        return await self._peer.call(lambda: rpc(request, metadata=renamed("storage"), timeout=limit))

    async def read_segments(
        self, collection_id: bytes, slots: SlotMap, keys: Collection[SegmentId]
    ) -> dict[SegmentId, list[tuple[Placement, bytes]]]:
        """Returns the places and blocks of some segments' batches, in the order in which they were appended.

        Args:
            slots: the slot map, which says which batches these segments have.

        Raises:
            Conflict: if the collection was written to since the slots were read.
            DataLoss: if the batches do not match the slots.
        """
        return await self._peer.call(lambda: self._read_segments(collection_id, slots, keys))

    async def _read_segments(
        self, collection_id: bytes, slots: SlotMap, keys: Collection[SegmentId]
    ) -> dict[SegmentId, list[tuple[Placement, bytes]]]:
        request = wire.BatchesRequest(collection_id, only_segments=tuple(keys)).to_message()
        blocks: dict[SegmentId, list[tuple[Placement, bytes]]] = {key: [] for key in keys}
        sent: dict[SegmentId, list[wire.SlotBatch]] = {key: [] for key in keys}
        with _opened(self._peer.stub.ReadBatches(request, metadata=renamed("storage"))) as messages:
            log = wire.LogHeader.from_message(transfer.part_of(await anext(messages, None), "log"))
            if log.sequence != slots.sequence:
                raise Conflict("the collection was written to while its segments were read; try again")
            if (log.chain, log.after_chain) != (slots.chain, wire.NO_CHAIN):
                raise DataLoss("storage's log is that of another history of the collection")
            async for header, block in _batches(messages, log):
                key = header.segment
                if key not in sent or header.first_slot != sum(one.count for one in sent[key]):
                    raise DataLoss("storage sent a batch that does not follow the one before it")
                sent[key].append(wire.SlotBatch(header.count, header.block_sha256))
                blocks[key].append((_place(header), block))
        for key in keys:
            segment = slots.segments[key]
            if tuple(sent[key]) != segment.batches:
                raise DataLoss(
                    f"storage sent {len(sent[key])} batches of segment {key}, "
                    f"not the {len(segment.batches)} that were written"
                )
        return blocks

    async def read_intact(
        self, collection_id: bytes, slots: SlotMap, key: SegmentId
    ) -> list[tuple[Placement, bytes]]:
        """Returns the places and blocks of those batches of a segment that are as they were written.

        Args:
            slots: the slot map, which says which batches the segment has.

        Raises:
            Conflict: if the collection was written to since the slots were read.
        """
        intact = _Intact()
        # Storage ends its answer at a damaged batch; what follows that is asked for again.
        for _ in slots.segments[key].batches:
            intact.after = intact.reached
            try:
                await self._peer.call(lambda: self._read_intact(collection_id, slots, key, intact))
            except DataLoss:
                if intact.reached == intact.after:
                    break
            else:
                break
        return [intact.found[slot] for slot in sorted(intact.found)]

    async def _read_intact(
        self, collection_id: bytes, slots: SlotMap, key: SegmentId, intact: _Intact
    ) -> None:
        request = wire.BatchesRequest(collection_id, intact.after, (key,)).to_message()
        written = slots.segments[key].by_slot
        with _opened(self._peer.stub.ReadBatches(request, metadata=renamed("storage"))) as messages:
            log = wire.LogHeader.from_message(transfer.part_of(await anext(messages, None), "log"))
            if (log.sequence, log.chain) != (slots.sequence, slots.chain):
                raise Conflict("the collection was written to while its segments were read; try again")
            before = intact.after
            for _ in range(log.batches):
                header = await _next_batch(messages, log, before)
                before = intact.reached = header.sequence
                block = await _block(messages, header)
                place = _place(header)
                batch = wire.SlotBatch(header.count, header.block_sha256)
                if place.segment == key and written.get(place.first_slot) == batch:
                    intact.found[place.first_slot] = place, block

    async def read_log(self, collection_id: bytes, after_sequence: int, read: ReadLog[_Result]) -> _Result:
        """Reads the log after a sequence; returns what `read` returns.

        Args:
            read: takes the log's header and its batches; called again if the connection is lost.

        Raises:
            DataLoss: if storage's answer is malformed or damaged.
        """
        request = wire.BatchesRequest(collection_id, after_sequence).to_message()

        async def attempt() -> _Result:
            with _opened(self._peer.stub.ReadBatches(request, metadata=renamed("storage"))) as messages:
                log = wire.LogHeader.from_message(transfer.part_of(await anext(messages, None), "log"))
                batches = (
                    LoggedBatch(header.sequence, _place(header), block, header.block_sha256)
                    async for header, block in _batches(messages, log)
                )
                return await read(log, batches)

        return await self._peer.call(attempt)

    async def read_slots(self, collection_id: bytes, after_sequence: int) -> tuple[SlotMap, list[wire.Link]]:
        """Returns the slot map without its chain, and the links after a sequence, at least the newest.

        Raises:
            DataLoss: if storage's answer is malformed; `LogKey.follow` checks what it says.
        """
        return await self._peer.call(lambda: self._read_slots(collection_id, after_sequence))

    async def _read_slots(self, collection_id: bytes, after_sequence: int) -> tuple[SlotMap, list[wire.Link]]:
        request = wire.SlotsRequest(collection_id, after_sequence).to_message()
        segments: dict[SegmentId, Segment] = {}
        links: list[wire.Link] = []
        first: wire.SlotPage | None = None
        with _opened(self._peer.stub.ReadSlots(request, metadata=renamed("storage"))) as messages:
            async for message in messages:
                page = wire.SlotPage.from_message(message)
                first = first or page
                if replace(page, runs=first.runs, links=first.links) != first:
                    raise DataLoss("storage sent slots that are not those of one moment")
                links += page.links
                for run in page.runs:
                    if len(run.handles) % HANDLE_BYTES or run.first_slot or run.segment in segments:
                        raise DataLoss("storage sent a part of a segment, want whole ones")
                    if len(run.versions) not in (0, len(run.handles) // HANDLE_BYTES * wire.VERSION_BYTES):
                        raise DataLoss("storage sent slots with too few versions, or too many")
                    versions = np.frombuffer(run.versions, "<u8")
                    segments[run.segment] = Segment(handles_from_bytes(run.handles), run.batches, versions)
        if first is None:
            raise DataLoss("storage ended its answer before the slots")
        upcoming = {Region.MAIN: first.next_main_index, Region.TAIL: first.next_tail_index}
        return SlotMap(first.sequence, first.epoch, segments, upcoming, first.items_added), links

    async def get_items(self, collection_id: bytes, handles: Sequence[bytes]) -> dict[bytes, wire.StoredItem]:
        """Returns items by handle; those that do not exist are left out."""
        found: dict[bytes, wire.StoredItem] = {}
        asked = in_no_order(handles)
        for start in range(0, len(asked), PAGE):
            for item in await self._items(collection_id, asked[start : start + PAGE]):
                found[item.handle] = item
        return found

    async def _items(self, collection_id: bytes, handles: Sequence[bytes]) -> list[wire.StoredItem]:
        """Reads items, half of them at a time if their metadata takes more than a message."""
        request = storage_pb2.GetItemsRequest(collection_id=collection_id, handles=handles)
        try:
            answer = await self._call(self._peer.stub.GetItems, request)
        except ResourceExhausted:
            middle = len(handles) // 2
            if not middle:
                raise
            first = await self._items(collection_id, handles[:middle])
            return first + await self._items(collection_id, handles[middle:])
        return list(map(wire.StoredItem.from_message, answer.items))

    async def read_original(self, collection_id: bytes, handle: bytes) -> bytes:
        """Returns one sealed original.

        Raises:
            NotFound: if the item has none.
            DataLoss: if storage's answer is malformed or damaged.
        """
        return await self._peer.call(lambda: self._read_original(collection_id, handle))

    async def _read_original(self, collection_id: bytes, handle: bytes) -> bytes:
        request = storage_pb2.ReadOriginalRequest(collection_id=collection_id, handle=handle)
        with _opened(self._peer.stub.ReadOriginal(request, metadata=renamed("storage"))) as messages:
            header = wire.OriginalHeader.from_message(transfer.part_of(await anext(messages, None), "header"))
            receiver = transfer.Receiver(
                header.size_bytes, header.sha256, limit_bytes=_MAX_ORIGINAL_BYTES, what="an original"
            )
            original = await transfer.announced(messages, receiver)
            transfer.require_end(await anext(messages, None))
        return original

    async def read_keypoints(self, collection_id: bytes, handles: Sequence[bytes]) -> dict[bytes, bytes]:
        """Returns sealed keypoints of items by handle; items that do not exist or have none are left out.

        Raises:
            DataLoss: if storage's answer is malformed or damaged.
        """
        return await self._peer.call(lambda: self._read_keypoints(collection_id, handles))

    async def _read_keypoints(self, collection_id: bytes, handles: Sequence[bytes]) -> dict[bytes, bytes]:
        asked = in_no_order(handles)
        request = storage_pb2.ReadAttachmentsRequest(collection_id=collection_id, handles=asked)
        found: dict[bytes, bytes] = {}
        with _opened(self._peer.stub.ReadAttachments(request, metadata=renamed("storage"))) as messages:
            async for message in messages:
                header = wire.AttachmentHeader.from_message(transfer.part_of(message, "header"))
                if header.handle not in handles or header.handle in found:
                    raise DataLoss("storage sent keypoints of an item that was not asked for")
                receiver = transfer.Receiver(
                    header.size_bytes, header.sha256, limit_bytes=_MAX_KEYPOINTS_BYTES, what="keypoints"
                )
                found[header.handle] = await transfer.announced(messages, receiver)
        return found

    async def read_planes(
        self, collection_id: bytes, handle: bytes, parameters: ParameterSet
    ) -> AsyncGenerator[SealedLayout | bytes, None]:
        """Yields one photo's encrypted planes: their layout and seal, then the pieces.

        Raises:
            NotFound: if the item has none.
            DataLoss: if storage's answer is not a layout followed by a seal and pieces of its sizes.
        """
        came = 0
        async for trying in self._peer.attempts():
            with trying:
                async with aclosing(self._read_planes(collection_id, handle, parameters)) as parts:
                    position = 0
                    async for part in parts:
                        position += 1
                        if position > came:  # otherwise it came before the connection was lost
                            came = position
                            yield part
                return

    async def _read_planes(
        self, collection_id: bytes, handle: bytes, parameters: ParameterSet
    ) -> AsyncGenerator[SealedLayout | bytes, None]:
        request = storage_pb2.ReadPlanesRequest(collection_id=collection_id, handle=handle)
        with _opened(self._peer.stub.ReadPlanes(request, metadata=renamed("storage"))) as messages:
            header = wire.PlanesHeader.from_message(transfer.part_of(await anext(messages, None), "header"))
            layout = _plane_layout(header.planes, parameters)
            if header.size_bytes != layout.size_bytes(parameters):
                raise DataLoss(
                    f"storage has planes of {header.size_bytes} bytes, want {layout.size_bytes(parameters)}"
                )
            yield SealedLayout(layout, await _piece(messages, layout.seal_bytes(parameters)))
            for count in layout.pieces:
                yield await _piece(messages, layout.piece_bytes(parameters, count))
            transfer.require_end(await anext(messages, None))


def in_no_order(handles: Sequence[bytes]) -> list[bytes]:
    """Returns handles in their own order, which is as good as random: a ranking's would tell who is first."""
    return sorted(handles)


async def _piece(messages: AsyncIterator[Any], wanted: int) -> bytes:
    """Receives a piece of planes, or their seal, of this size."""
    piece = wire.PieceHeader.from_message(transfer.part_of(await anext(messages, None), "piece"))
    if piece.size_bytes != wanted:
        raise DataLoss(f"storage sent a piece of {piece.size_bytes} bytes, want {wanted}")
    receiver = transfer.Receiver(wanted, piece.sha256, limit_bytes=wanted, what="a piece of planes")
    return await transfer.announced(messages, receiver)


def storage_pace() -> Pace:
    """Returns the pace that storage keeps to."""
    return Pace("storage", timeouts.STORAGE_SILENCE_SECONDS)


@contextmanager
def _opened(call: Any) -> Iterator[AsyncIterator[Any]]:
    """Opens a stream of messages while the block runs; malformed messages raise DataLoss."""
    with transfer.answer_of("storage"), open_call(call):
        yield storage_pace().reading(call)


async def _batches(
    messages: AsyncIterator[Any], log: wire.LogHeader
) -> AsyncIterator[tuple[wire.BatchHeader, bytes]]:
    """Yields the announced batches of a log, each in full, in order."""
    before = 0
    for _ in range(log.batches):
        header = await _next_batch(messages, log, before)
        before = header.sequence
        yield header, await _block(messages, header)
    transfer.require_end(await anext(messages, None))


async def _next_batch(messages: AsyncIterator[Any], log: wire.LogHeader, before: int) -> wire.BatchHeader:
    header = wire.BatchHeader.from_message(transfer.part_of(await anext(messages, None), "batch"))
    if not before < header.sequence <= log.sequence:
        raise DataLoss(f"storage sent batch {header.sequence} of its log after {before}")
    return header


async def _block(messages: AsyncIterator[Any], header: wire.BatchHeader) -> bytes:
    receiver = transfer.Receiver(
        header.block_size_bytes, header.block_sha256, limit_bytes=_MAX_BLOCK_BYTES, what="a batch"
    )
    return await transfer.announced(messages, receiver)


def _place(header: wire.BatchHeader) -> Placement:
    segment = header.segment
    return Placement(segment.region, segment.index, header.first_slot, header.count)


def _plane_layout(planes: wire.Planes, parameters: ParameterSet) -> PlaneLayout:
    return PlaneLayout(planes.width, planes.height, planes.channels, parameters.ring_degree, planes.halo)
