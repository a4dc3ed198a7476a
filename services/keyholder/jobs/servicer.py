"""The rpcs of bulk ingest, for clients and workers: each parses its request, delegates and converts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import imports_pb2 as pb
from blindsight.rpc.keyholder.v1 import imports_pb2_grpc, workers_pb2_grpc
from blindsight.rpc.keyholder.v1 import workers_pb2 as workers
from blindsight.trusted.clients.fencing import Fence
from blindsight.trusted.ingest.records import Job
from blindsight.trusted.ingest.worker_token import TOKEN_KEY, WorkerAccess
from blindsight.trusted.keyring.keys import KeySet
from blindsight.wire.imports import FailedItem, ImportHeader, RemarkedItem
from services.keyholder.jobs import wire
from services.keyholder.jobs.importer import Imports

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ImportService"].full_name
WORKERS_NAME = workers.DESCRIPTOR.services_by_name["WorkerService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class ImportServicer(imports_pb2_grpc.ImportServiceServicer):
    """The bulk ingest service.

    Args:
        imports: returns the imports of the current call's caller, or raises if there is no queue.
    """

    def __init__(self, imports: Callable[[], Imports]) -> None:
        self._find = imports

    @property
    def _imports(self) -> Imports:
        return self._find()

    async def CreateImport(
        self, request_iterator: AsyncIterator[pb.CreateImportRequest], context: Context
    ) -> AsyncIterator[pb.CreateImportResponse]:
        """Receives photos into the queue."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("the stream does not begin with a header, want one")
        header = ImportHeader.from_message(first.header)
        photos = wire.photos(requests, says_end=header.says_end, exif=header.exif)
        async for job in self._imports.take(header.collection, header.request_id, photos):
            yield pb.CreateImportResponse(job=await self._named(job))

    async def GetImport(self, request: pb.GetImportRequest, context: Context) -> pb.GetImportResponse:
        """Returns an import and a page of what is told of its items."""
        size, after = wire.page_size(request.page_size), wire.page_token(request.page_token)
        job_id = await self._permitted(request.import_id)
        job, told = await self._imports.get(job_id, size, -1 if after is None else after)
        return pb.GetImportResponse(
            job=await self._named(job),
            failed_items=[one.to_message() for one in told if isinstance(one, FailedItem)],
            remarked_items=[one.to_message() for one in told if isinstance(one, RemarkedItem)],
            next_page_token=str(told[-1].number) if len(told) == size else "",
        )

    async def WatchImport(
        self, request: pb.WatchImportRequest, context: Context
    ) -> AsyncIterator[pb.WatchImportResponse]:
        """Yields an import whenever it changed, until it has ended."""
        async for job in self._imports.watch(await self._permitted(request.import_id)):
            yield pb.WatchImportResponse(job=await self._named(job))

    async def ListImports(self, request: pb.ListImportsRequest, context: Context) -> pb.ListImportsResponse:
        """Returns a page of imports."""
        before = wire.page_token(request.page_token)
        jobs, following = await self._imports.page(wire.page_size(request.page_size), before)
        token = str(following) if following is not None else ""
        shown = [await self._named(job) for job in jobs]
        return pb.ListImportsResponse(imports=shown, next_page_token=token)

    async def CancelImport(
        self, request: pb.CancelImportRequest, context: Context
    ) -> pb.CancelImportResponse:
        """Cancels an import."""
        job = await self._imports.cancel(await self._permitted(request.import_id))
        return pb.CancelImportResponse(job=await self._named(job))

    async def RetryImport(self, request: pb.RetryImportRequest, context: Context) -> pb.RetryImportResponse:
        """Puts the dead letters of an import back into the queue."""
        job, retried = await self._imports.retry(await self._permitted(request.import_id))
        return pb.RetryImportResponse(job=await self._named(job), retried=retried)

    async def DropFailed(self, request: pb.DropFailedRequest, context: Context) -> pb.DropFailedResponse:
        """Drops the sealed originals of failed items."""
        job_id = await self._permitted(request.import_id)
        return pb.DropFailedResponse(dropped=await self._imports.drop_failed(job_id))

    async def _permitted(self, import_id: str) -> bytes:
        """Returns the id of an import, unless its collection is not for the caller."""
        job_id = wire.job_id(import_id)
        await self._imports.require_in_scope(job_id)
        return job_id

    async def _named(self, job: Job) -> pb.Import:
        return wire.info(job, await self._imports.collection_name(job)).to_message()


class WorkerServicer(workers_pb2_grpc.WorkerServiceServicer):
    """What workers of the owner's key set tell.

    Args:
        keys: the owner's key set.
        imports: returns the imports, or raises if there is no queue.
        fence: gives the fencing token with which workers write.
    """

    def __init__(self, keys: KeySet, imports: Callable[[], Imports], fence: Fence) -> None:
        self._find = imports
        self._fence = fence
        self._access = WorkerAccess(keys)

    async def ReportItems(
        self, request: workers.ReportItemsRequest, context: Context
    ) -> workers.ReportItemsResponse:
        """Records the outcomes that a worker reports."""
        self._require_worker(context)
        imports, token = self._find(), await self._fence.token()
        message_ids = wire.message_ids(request.message_ids)
        stopped = await imports.report(wire.reports(request.items), request.job_ids)
        done = await imports.done(request.job_ids, message_ids)
        return workers.ReportItemsResponse(
            stopped_job_ids=sorted(stopped), fencing_token=token, done_message_ids=sorted(done)
        )

    async def NoteTrial(
        self, request: workers.NoteTrialRequest, context: Context
    ) -> workers.NoteTrialResponse:
        """Records a trial of a photo in a worker's quarantine."""
        self._require_worker(context)
        return workers.NoteTrialResponse(deaths=await self._find().note_trial(wire.trial(request)))

    def _require_worker(self, context: Context) -> None:
        self._access.require(dict(context.invocation_metadata() or ()).get(TOKEN_KEY, ""))


def register(keys: KeySet, imports: Callable[[], Imports], fence: Fence, server: grpc.aio.Server) -> None:
    """Adds the rpcs of bulk ingest to a server."""
    imports_pb2_grpc.add_ImportServiceServicer_to_server(ImportServicer(imports), server)
    workers_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerServicer(keys, imports, fence), server)
