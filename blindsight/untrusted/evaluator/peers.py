"""The client of storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from blindsight import logs, parameters, server, status
from blindsight.columns import Region, collection_layout
from blindsight.connections import KEEPALIVE_SECONDS
from blindsight.errors import BlindsightError, DataLoss, Unavailable
from blindsight.interceptors import REQUEST_ID_KEY
from blindsight.rpc.storage.v1 import storage_pb2, storage_pb2_grpc
from blindsight.untrusted.evaluator.geometry import AdditiveRecord, AnyRecord, CollectionRecord
from blindsight.untrusted.evaluator.log import BatchHeader, Event, LogHeader
from blindsight.untrusted.evaluator.segments import SegmentKey

_NAME = "storage"
_ANSWER_SECONDS = 10.0
# Between two messages of a stream: storage may have to read a large block from a slow disk.
_SILENCE_SECONDS = 60.0


class StorageClient:
    """Asks storage over gRPC; see `log.Storage`.

    Args:
        address: HOST:PORT.
        keepalive_seconds: see `server.channel`.
    """

    def __init__(self, address: str, keepalive_seconds: float = KEEPALIVE_SECONDS) -> None:
        self._channel = server.channel(address, keepalive_seconds)
        self._stub: Any = storage_pb2_grpc.StorageServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def get_collection(self, collection_id: bytes) -> AnyRecord:
        """A collection's record."""
        request = storage_pb2.GetCollectionRequest(collection_id=collection_id)
        await server.connected(self._channel, _NAME)
        try:
            answer = await self._stub.GetCollection(request, timeout=_ANSWER_SECONDS, metadata=_metadata())
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error, _NAME) from error
        return _record(collection_id, answer.collection)

    @asynccontextmanager
    async def read_batches(
        self, collection_id: bytes, after_sequence: int
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """The log after a sequence; the call ends with the `async with` block."""
        request = storage_pb2.ReadBatchesRequest(collection_id=collection_id, after_sequence=after_sequence)
        await server.connected(self._channel, _NAME)
        call = self._stub.ReadBatches(request, metadata=_metadata())
        try:
            yield _events(call)
        finally:
            call.cancel()


async def _events(call: Any) -> AsyncIterator[Event]:
    try:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await call.read()
            if message is grpc.aio.EOF:
                return
            yield _event(message)
    except TimeoutError as error:
        raise Unavailable(f"{_NAME} has been silent for {_SILENCE_SECONDS:.0f} s") from error
    except grpc.aio.AioRpcError as error:
        raise status.from_rpc_error(error, _NAME) from error


def _event(message: storage_pb2.ReadBatchesResponse) -> Event:
    part = message.WhichOneof("part")
    if part == "chunk":
        return message.chunk
    if part == "batch":
        batch = message.batch
        return BatchHeader(
            batch.sequence,
            _key(batch.segment),
            batch.first_slot,
            batch.count,
            batch.block_size_bytes,
            batch.block_sha256,
        )
    if part == "log":
        retired = tuple(_key(segment) for segment in message.log.retired)
        return LogHeader(message.log.sequence, message.log.epoch, message.log.batches, retired)
    raise DataLoss("storage sent an empty message")


def _key(segment: storage_pb2.SegmentId) -> SegmentKey:
    try:
        return SegmentKey(Region(int(segment.region)), segment.index)
    except ValueError as error:
        raise DataLoss(f"storage names a segment of region {segment.region}, want main or tail") from error


def _record(collection_id: bytes, collection: storage_pb2.Collection) -> AnyRecord:
    try:
        chosen = parameters.by_name(collection.parameter_set)
        fields = tuple(collection.fields) or (collection.dimension,)
        layout = collection_layout(fields, chosen.ring_degree, collection.stride, chosen.most_stride)
    except BlindsightError as error:
        raise DataLoss(f"storage holds a bad record: {error}") from error
    if isinstance(chosen, parameters.AdditiveSet):
        return AdditiveRecord(collection_id, chosen, collection.key_id, layout)
    return CollectionRecord(collection_id, chosen, collection.key_id, layout)


def _metadata() -> tuple[tuple[str, str], ...]:
    current = logs.request_id.get()
    return ((REQUEST_ID_KEY, current),) if current else ()
