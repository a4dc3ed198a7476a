"""The rpc methods of storage: each parses its request, delegates, and converts the result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio
import psutil

from blindsight import __version__
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.rpc.storage.v1 import storage_pb2_grpc
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.transfer import GO_AHEAD_KEY
from blindsight.wire import storage as wire
from services.storage import validation
from services.storage.append_queue import AppendQueues
from services.storage.appends import Appends
from services.storage.executors import Threads
from services.storage.garbage import Sweeper
from services.storage.leases import Leases
from services.storage.settings import StorageSettings
from services.storage.stores import Store

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["StorageService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """The storage service of one store; `storage.proto` describes the rpcs.

    Args:
        store: the store.
        threads: run the store's calls.
        sweeper: frees the store's unused bytes.
        settings: limits.
    """

    def __init__(self, store: Store, threads: Threads, sweeper: Sweeper, settings: StorageSettings) -> None:
        self._store = store
        self._threads = threads
        self._sweeper = sweeper
        budget = MemoryBudget(settings.receive_bytes, "appends")
        queues = AppendQueues(settings.turn_seconds)
        self._leases = Leases(store, threads, settings.lease_seconds)
        self._appends = Appends(store, threads, sweeper, budget, queues, settings.stall_seconds)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this service to a server."""
        storage_pb2_grpc.add_StorageServiceServicer_to_server(self, server)

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        record = wire.StoredCollection.from_message(request.collection)
        validation.require_collection(record)
        validation.require_token(request.fencing_token)
        created = await self._threads.write(self._store.create_collection, record, request.fencing_token)
        return pb.CreateCollectionResponse(collection=created.to_message())

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        validation.require_id(request.collection_id, "collection_id")
        record = await self._threads.read(self._store.get_collection, request.collection_id)
        return pb.GetCollectionResponse(collection=record.to_message())

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        start, size = validation.page_start(request.page_token), validation.page_size(request.page_size)
        page, following = await self._threads.read(self._store.list_collections, start, size)
        return pb.ListCollectionsResponse(
            collections=[record.to_message() for record in page],
            next_page_token=str(following) if following else "",
        )

    async def ReplaceConfig(
        self, request: pb.ReplaceConfigRequest, context: Context
    ) -> pb.ReplaceConfigResponse:
        validation.require_id(request.collection_id, "collection_id")
        settings = wire.Settings.from_message(request)
        validation.require_settings(settings)
        sequence = await self._threads.write(self._store.replace_config, settings)
        return pb.ReplaceConfigResponse(sequence=sequence)

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        validation.require_id(request.collection_id, "collection_id")
        validation.require_token(request.fencing_token)
        await self._threads.write(self._store.delete_collection, request.collection_id, request.fencing_token)
        await self._sweeper.sweep()
        return pb.DeleteCollectionResponse()

    async def TakeTurn(self, request: pb.TakeTurnRequest, context: Context) -> pb.TakeTurnResponse:
        validation.require_id(request.collection_id, "collection_id")
        validation.require_id(request.batch_id, "batch_id")
        sequence = await self._appends.take_turn(request.collection_id, request.batch_id)
        return pb.TakeTurnResponse(sequence=sequence)

    async def Append(
        self, request_iterator: AsyncIterator[pb.AppendRequest], context: Context
    ) -> pb.AppendResponse:
        async def go_ahead() -> None:
            await context.send_initial_metadata(((GO_AHEAD_KEY, "1"),))

        parts = (wire.APPEND.from_message(request) async for request in request_iterator)
        answer = await self._appends.append(parts, go_ahead)
        return answer.to_message()

    async def ReadBatches(
        self, request: pb.ReadBatchesRequest, context: Context
    ) -> AsyncIterator[pb.ReadBatchesResponse]:
        validation.require_id(request.collection_id, "collection_id")
        wanted = wire.BatchesRequest.from_message(request)
        only = wanted.only_segments
        validation.require_segments(only, "only_segments")
        snapshot = self._store.read_batches(wanted.collection_id, wanted.after_sequence, only)
        async with aclosing(self._threads.stream(snapshot)) as parts:
            async for part in parts:
                yield wire.LOG.to_message(part)

    async def ReadSlots(
        self, request: pb.ReadSlotsRequest, context: Context
    ) -> AsyncIterator[pb.ReadSlotsResponse]:
        validation.require_id(request.collection_id, "collection_id")
        wanted = wire.SlotsRequest.from_message(request)
        snapshot = self._store.read_slots(wanted.collection_id, wanted.after_sequence)
        async with aclosing(self._threads.stream(snapshot)) as pages:
            async for page in pages:
                yield page.to_message()

    async def GetItems(self, request: pb.GetItemsRequest, context: Context) -> pb.GetItemsResponse:
        validation.require_id(request.collection_id, "collection_id")
        handles = list(request.handles)
        validation.require_handles(handles)
        items = await self._threads.read(self._store.get_items, request.collection_id, handles)
        return pb.GetItemsResponse(items=[item.to_message() for item in items])

    async def ReadOriginal(
        self, request: pb.ReadOriginalRequest, context: Context
    ) -> AsyncIterator[pb.ReadOriginalResponse]:
        validation.require_id(request.collection_id, "collection_id")
        validation.require_id(request.handle, "handle")
        snapshot = self._store.read_original(request.collection_id, request.handle)
        async with aclosing(self._threads.stream(snapshot)) as parts:
            async for part in parts:
                yield wire.ORIGINAL.to_message(part)

    async def ReadAttachments(
        self, request: pb.ReadAttachmentsRequest, context: Context
    ) -> AsyncIterator[pb.ReadAttachmentsResponse]:
        validation.require_id(request.collection_id, "collection_id")
        handles = list(request.handles)
        validation.require_handles(handles)
        snapshot = self._store.read_attachments(request.collection_id, handles)
        async with aclosing(self._threads.stream(snapshot)) as parts:
            async for part in parts:
                yield wire.ATTACHMENT.to_message(part)

    async def ReadPlanes(
        self, request: pb.ReadPlanesRequest, context: Context
    ) -> AsyncIterator[pb.ReadPlanesResponse]:
        validation.require_id(request.collection_id, "collection_id")
        validation.require_id(request.handle, "handle")
        snapshot = self._store.read_planes(request.collection_id, request.handle)
        async with aclosing(self._threads.stream(snapshot)) as parts:
            async for part in parts:
                yield wire.PLANES.to_message(part)

    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.DeleteItemsResponse:
        validation.require_id(request.collection_id, "collection_id")
        deletion = wire.Deletion.from_message(request)
        validation.require_deletion(deletion)
        done = await self._threads.write(self._store.delete_items, deletion)
        if done.deleted:
            await self._sweeper.sweep()
        return done.to_message()

    async def TruncateCollection(
        self, request: pb.TruncateCollectionRequest, context: Context
    ) -> pb.TruncateCollectionResponse:
        validation.require_id(request.collection_id, "collection_id")
        truncation = wire.Truncation.from_message(request)
        validation.require_truncation(truncation)
        sequence = await self._threads.write(self._store.truncate_collection, truncation)
        await self._sweeper.sweep()
        return pb.TruncateCollectionResponse(sequence=sequence)

    async def UpdateItems(self, request: pb.UpdateItemsRequest, context: Context) -> pb.UpdateItemsResponse:
        validation.require_id(request.collection_id, "collection_id")
        update = wire.Update.from_message(request)
        validation.require_update(update)
        return (await self._threads.write(self._store.update_items, update)).to_message()

    async def TakeLease(self, request: pb.TakeLeaseRequest, context: Context) -> pb.TakeLeaseResponse:
        validation.require_id(request.key_id, "key_id")
        validation.require_id(request.holder_id, "holder_id")
        return (await self._leases.take(request.key_id, request.holder_id)).to_message()

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Context) -> pb.RenewLeaseResponse:
        validation.require_id(request.key_id, "key_id")
        validation.require_id(request.holder_id, "holder_id")
        validation.require_token(request.fencing_token)
        await self._leases.renew(request.key_id, request.holder_id, request.fencing_token)
        return pb.RenewLeaseResponse(lease_milliseconds=self._leases.milliseconds)

    async def ReleaseLease(
        self, request: pb.ReleaseLeaseRequest, context: Context
    ) -> pb.ReleaseLeaseResponse:
        validation.require_id(request.key_id, "key_id")
        validation.require_token(request.fencing_token)
        await self._leases.release(request.key_id, request.fencing_token)
        return pb.ReleaseLeaseResponse()

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        status = await self._threads.read(self._store.status)
        memory_bytes = psutil.Process().memory_info().rss
        return wire.StorageStatus(
            version=__version__,
            collections=status.collections,
            items=status.items,
            disk_bytes=status.disk_bytes,
            memory_bytes=memory_bytes,
            schema_version=status.schema_version,
        ).to_message()
