"""The keyholder's rpcs: parse, delegate, convert."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime import transfer as streams
from services.keyholder.operations.combine import CombineProgress
from services.keyholder.operations.ingest import Outcome, Progress
from services.keyholder.service import Keyholder
from services.keyholder.wire import combining, describing, ingesting, inputs, searching, verifying

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["KeyholderService"].full_name
DEFAULT_K = 5
Context = grpc.aio.ServicerContext[Any, Any]


class KeyholderServicer(keyholder_pb2_grpc.KeyholderServiceServicer):
    """Serves one owner.

    Args:
        keyholder: does the work.
    """

    def __init__(self, keyholder: Keyholder) -> None:
        self._keyholder = keyholder
        self._vault = keyholder.vault

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Adds a collection."""
        created = await self._vault.create(
            request.name,
            scheme=request.scheme or "ckks",
            parameter_set=request.parameter_set,
            embedder=request.embedder or ("pixels" if request.channels else "descriptor"),
            dimension=request.dimension,
            metric=inputs.metric(request.metric) if request.metric else None,
            expected_size=request.expected_size,
            max_norm=request.max_norm,
            channels=request.channels,
            size=request.size,
        )
        return pb.CreateCollectionResponse(collection=describing.collection(created))

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """One collection."""
        found = await self._vault.get(request.name)
        await self._vault.refresh(found)
        return pb.GetCollectionResponse(collection=describing.collection(found))

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """All collections."""
        return pb.ListCollectionsResponse(collections=map(describing.collection, await self._vault.all()))

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        """Removes a collection."""
        await self._vault.delete(request.name)
        return pb.DeleteCollectionResponse()

    async def Ingest(
        self, request_iterator: AsyncIterator[pb.IngestRequest], context: Context
    ) -> AsyncIterator[pb.IngestResponse]:
        """Takes photos or vectors."""
        requests = aiter(request_iterator)
        header = (await _first(requests, "header")).header
        name = header.collection
        first = await anext(requests, None)
        if first is None:
            await self._vault.get(name)  # an unknown collection is an error even for nothing
            totals = Progress()
        elif first.WhichOneof("part") == "vectors":
            if header.planes:
                raise InvalidArgument("planes of vectors, want photos: vectors have no pixels")
            totals = Progress()
            blocks = ingesting.vector_blocks(_with(first, requests))
            async for totals in self._keyholder.ingest_vectors(name, blocks):
                yield pb.IngestResponse(progress=ingesting.progress(totals))
        else:
            counts = dict.fromkeys(Outcome, 0)
            photos = ingesting.photos(_with(first, requests))
            asked = self._keyholder.ingest_photos(name, photos, planes=header.planes, halo=header.plane_halo)
            async for result in asked:
                counts[result.outcome] += 1
                yield ingesting.item_result(result)
            totals = Progress(*counts.values())
        yield pb.IngestResponse(summary=ingesting.progress(totals))

    async def Search(
        self, request_iterator: AsyncIterator[pb.SearchRequest], context: Context
    ) -> AsyncIterator[pb.SearchResponse]:
        """The best matches of a photo or of vectors."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        header = (await _first(requests, "header")).header
        threshold = header.threshold if header.HasField("threshold") else None
        search = await self._keyholder.search(
            header.collection,
            k=header.k or DEFAULT_K,
            threshold=threshold,
            query_visible_to_server=header.query_visible_to_server,
            draw=header.draw,
        )
        query = await anext(requests, None)
        part = query.WhichOneof("part") if query is not None else None
        if query is not None and part == "image":
            data = await searching.query_image(query.image, requests)
            answers = search.photo(data)
        elif query is not None and part == "vectors":
            answers = search.run(await searching.query_vectors(query.vectors, requests))
        else:
            raise InvalidArgument(f"search stream: {part or 'nothing'} came, want a photo or vectors")
        async for answer in answers:
            yield searching.answer(answer)
        search.timings.total = time.perf_counter() - started
        yield searching.timings(search.timings, query_visible_to_server=search.query_visible_to_server)

    async def Verify(
        self, request_iterator: AsyncIterator[pb.VerifyRequest], context: Context
    ) -> pb.VerifyResponse:
        """Whether two photos or two vectors, or one and an item, are of the same thing."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        header = (await _first(requests, "header")).header
        item = verifying.verify_item(header)
        inputs = await verifying.verify_inputs(requests)
        if item is None:
            made = await self._keyholder.verify_pair(verifying.verify_settings(header), inputs)
        else:
            made = await self._keyholder.verify_item(*item, inputs, verifying.verify_threshold(header))
        made.timings.total = time.perf_counter() - started
        return verifying.verification(made)

    async def Combine(
        self, request_iterator: AsyncIterator[pb.CombineRequest], context: Context
    ) -> AsyncIterator[pb.CombineResponse]:
        """A weighted sum of pictures or arrays under an additive scheme."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        settings = combining.combine_settings((await _first(requests, "header")).header)
        inputs = await combining.combine_inputs(requests)
        async for answer in self._keyholder.combinations.run(settings, inputs):
            if isinstance(answer, CombineProgress):
                yield combining.combine_progress(answer)
            else:
                answer.timings.total = time.perf_counter() - started
                for part in combining.combination(answer):
                    yield part

    async def GetOriginal(
        self, request: pb.GetOriginalRequest, context: Context
    ) -> AsyncIterator[pb.GetOriginalResponse]:
        """One original."""
        metadata, data = await self._keyholder.original(request.collection, request.id)
        header = pb.OriginalHeader(
            id=metadata.id,
            name=metadata.name,
            media_type=metadata.media_type,
            size_bytes=len(data),
            sha256=streams.digest(data),
        )
        yield pb.GetOriginalResponse(header=header)
        for chunk in streams.chunks(data):
            yield pb.GetOriginalResponse(chunk=chunk)

    async def GetPlanes(
        self, request: pb.GetPlanesRequest, context: Context
    ) -> AsyncIterator[pb.GetPlanesResponse]:
        """One photo's pixels."""
        metadata, image = await self._keyholder.planes(request.collection, request.id)
        data = image.tobytes()
        yield describing.planes_header(metadata, image.shape, streams.digest(data))
        for chunk in streams.chunks(data):
            yield pb.GetPlanesResponse(chunk=chunk)

    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.DeleteItemsResponse:
        """Deletes items."""
        deleted, unknown = await self._keyholder.delete_items(request.collection, list(request.ids))
        return pb.DeleteItemsResponse(deleted=deleted, unknown_ids=unknown)

    async def Repack(self, request: pb.RepackRequest, context: Context) -> AsyncIterator[pb.RepackResponse]:
        """Re-encrypts the tail into full segments."""
        async for state in self._keyholder.repack(request.collection):
            yield describing.repack_progress(state)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """The state of all three services."""
        reports = await self._keyholder.reports()
        collections = await self._vault.all() if reports[-1].status is not None else []
        return pb.GetStatusResponse(
            services=map(describing.service_status, reports),
            key_id=self._keyholder.keys.key_id.hex(),
            collections=map(describing.collection, collections),
        )


def register(keyholder: Keyholder, server: grpc.aio.Server) -> None:
    """Adds the keyholder's rpcs to a server."""
    keyholder_pb2_grpc.add_KeyholderServiceServicer_to_server(KeyholderServicer(keyholder), server)


async def _first(requests: AsyncIterator[Any], part: str) -> Any:
    """The first message of a stream.

    Raises:
        InvalidArgument: when it is another part or none.
    """
    message = await anext(requests, None)
    got = message.WhichOneof("part") if message is not None else None
    if got != part:
        raise InvalidArgument(f"the stream begins with {got or 'nothing'}, want a {part}")
    return message


async def _with(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for message in rest:
        yield message
