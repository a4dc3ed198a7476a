"""The evaluator's client of storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from blindsight.errors import BlindsightError, DataLoss
from blindsight.packing.columns import collection_layout
from blindsight.parameters import AdditiveSet, ParameterSet
from blindsight.rpc.storage.v1 import storage_pb2, storage_pb2_grpc
from blindsight.runtime.pace import Pace
from blindsight.runtime.peer import USUAL, Connection, Peer, metadata
from blindsight.runtime.roles import Role
from blindsight.runtime.transfer import Receiver, announced, answer_of, part_of, require_end
from blindsight.wire.storage import LOG, BatchesRequest, LogPart, PieceHeader, PlanesHeader, StoredCollection
from services.evaluator.batch_log import PlaneEvent, StoredPiece
from services.evaluator.geometry import AdditiveRecord, AnyRecord, CollectionRecord

_ANSWER_SECONDS = 10.0
_PAGE = 1000
# Longest wait between two messages of a stream: storage may have to read a large block from a slow disk.
_SILENCE_SECONDS = 60.0


class StorageClient:
    """A client of storage over gRPC; implements `batch_log.Storage`.

    Args:
        address: HOST:PORT.
        connection: how to connect.
    """

    def __init__(
        self,
        address: str,
        connection: Connection = USUAL,
    ) -> None:
        self._peer = Peer(Role.STORAGE, address, storage_pb2_grpc.StorageServiceStub, connection)

    async def close(self) -> None:
        """Closes the connection."""
        await self._peer.close()

    async def list_collections(self) -> list[AnyRecord]:
        """Returns the records of all collections, oldest first, without invalid ones."""
        found: list[AnyRecord] = []
        token = ""
        while True:
            request = storage_pb2.ListCollectionsRequest(page_size=_PAGE, page_token=token)
            answer = await self._call(self._peer.stub.ListCollections, request)
            for one in answer.collections:
                with suppress(DataLoss):
                    found.append(_record(StoredCollection.from_message(one)))
            token = answer.next_page_token
            if not token:
                return found

    async def _call(self, rpc: Any, request: Any) -> Any:
        return await self._peer.call(lambda: rpc(request, timeout=_ANSWER_SECONDS, metadata=metadata()))

    async def get_collection(self, collection_id: bytes) -> AnyRecord:
        """Returns a collection's record."""
        request = storage_pb2.GetCollectionRequest(collection_id=collection_id)
        answer = await self._call(self._peer.stub.GetCollection, request)
        asked = replace(StoredCollection.from_message(answer.collection), collection_id=collection_id)
        return _record(asked)

    @asynccontextmanager
    async def read_batches(
        self, collection_id: bytes, after_sequence: int
    ) -> AsyncIterator[AsyncIterator[LogPart]]:
        """Opens the log after a sequence; the call ends with the `async with` block."""
        request = BatchesRequest(collection_id, after_sequence).to_message()
        # Waits for the first message, since the call may be retried only until then.
        call, rest, first = await self._peer.call(lambda: self._opened(self._peer.stub.ReadBatches, request))
        try:
            yield _log_parts(_messages(self._peer, first, rest))
        finally:
            call.cancel()

    @asynccontextmanager
    async def read_planes(
        self, record: CollectionRecord, handle: bytes
    ) -> AsyncIterator[AsyncIterator[PlaneEvent]]:
        """Opens a photo's encrypted planes; the call ends with the `async with` block."""
        request = storage_pb2.ReadPlanesRequest(collection_id=record.collection_id, handle=handle)
        call, rest, first = await self._peer.call(lambda: self._opened(self._peer.stub.ReadPlanes, request))
        try:
            yield _plane_events(_messages(self._peer, first, rest), record.parameters)
        finally:
            call.cancel()

    async def _opened(self, rpc: Any, request: Any) -> tuple[Any, AsyncIterator[Any], Any]:
        call = rpc(request, metadata=metadata())
        messages = Pace(Role.STORAGE, _SILENCE_SECONDS).reading(call)
        return call, messages, await anext(messages, None)


async def _messages(peer: Peer[Any], first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    with peer.errors():
        if first is not None:
            yield first
        async for message in rest:
            yield message


async def _log_parts(messages: AsyncIterator[Any]) -> AsyncIterator[LogPart]:
    async for message in messages:
        with answer_of(Role.STORAGE):
            part = LOG.from_message(message)
        yield part


async def _plane_events(messages: AsyncIterator[Any], parameters: ParameterSet) -> AsyncIterator[PlaneEvent]:
    """Yields the tiling, then its pieces; other sizes than the tiling's are refused, which bounds memory."""
    with answer_of(Role.STORAGE):
        header = PlanesHeader.from_message(part_of(await anext(messages, None), "header"))
        tiling = header.planes.tiling(parameters)
        if header.size_bytes != tiling.size_bytes(parameters):
            wanted = tiling.size_bytes(parameters)
            raise DataLoss(f"storage has planes of {header.size_bytes} bytes, want {wanted}")
        yield tiling
        await _piece(messages, tiling.seal_bytes(parameters))  # for the keyholder alone
        for count in tiling.pieces:
            yield StoredPiece(await _piece(messages, tiling.piece_bytes(parameters, count)))
        require_end(await anext(messages, None))


async def _piece(messages: AsyncIterator[Any], wanted: int) -> bytes:
    piece = PieceHeader.from_message(part_of(await anext(messages, None), "piece"))
    if piece.size_bytes != wanted:
        raise DataLoss(f"storage sent a piece of {piece.size_bytes} bytes, want {wanted}")
    receiver = Receiver(wanted, piece.sha256, limit_bytes=wanted, what="a piece of planes")
    return await announced(messages, receiver)


def _record(collection: StoredCollection) -> AnyRecord:
    try:
        chosen = collection.parameters
        layout = collection_layout(
            collection.row_fields, chosen.ring_degree, collection.stride, chosen.most_stride
        )
    except BlindsightError as error:
        raise DataLoss(f"storage holds a bad record: {error}") from error
    if isinstance(chosen, AdditiveSet):
        return AdditiveRecord(collection.collection_id, chosen, collection.key_id, layout)
    return CollectionRecord(collection.collection_id, chosen, collection.key_id, layout)
