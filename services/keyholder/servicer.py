"""The keyholder's rpcs: each parses its request, delegates, and converts the result."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from typing import Any

import grpc.aio

from blindsight.errors import Draining, InvalidArgument, PermissionDenied
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime import transfer
from blindsight.runtime.reports import with_reports
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.vault import scope
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.settings import new_config, parameters_for
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.collections import CollectionInfo, CollectionRequest, Deletion, Rollback, VaultStatus
from blindsight.wire.combine import CombineHeader, CombineProgress
from blindsight.wire.ingest import OUTCOMES, IngestCounts, IngestHeader, ItemResult
from blindsight.wire.items import OriginalHeader, PlanesHeader
from blindsight.wire.listing import (
    CountRequest,
    DeleteRequest,
    ListRequest,
    Updated,
    UpdateRequest,
)
from blindsight.wire.metadata import Filter, Where
from blindsight.wire.search import MatchDrawing, SearchHeader, SearchProgress
from blindsight.wire.verify import VerifyHeader
from services.keyholder.operations.items import ItemOperations, described
from services.keyholder.operations.naming import naming
from services.keyholder.operations.verify import as_distance
from services.keyholder.quotas import HeavyJob, heavy
from services.keyholder.service import Keyholder
from services.keyholder.tokens import reveal
from services.keyholder.tokens.roles import MAY_REPLACE
from services.keyholder.tokens.tokens import caller, require_role
from services.keyholder.wire import combining, describing, ingesting, searching, verifying

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["KeyholderService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class KeyholderServicer(keyholder_pb2_grpc.KeyholderServiceServicer):
    """The keyholder's service.

    Args:
        current: returns the keyholder of the current call's caller, which does the work.
    """

    def __init__(self, current: Callable[[], Keyholder]) -> None:
        self._current = current

    @property
    def _keyholder(self) -> Keyholder:
        return self._current()

    def heavy_job(self) -> AbstractContextManager[HeavyJob]:
        """Counts a heavy job of the current call's caller."""
        return self._keyholder.allowance.heavy_job()

    @property
    def _vault(self) -> Vault:
        return self._current().vault

    @property
    def _items(self) -> ItemOperations:
        return self._current().items

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Adds a collection."""
        asked = CollectionRequest.from_message(request)
        config = new_config(
            asked.name,
            scheme=asked.scheme or "ckks",
            parameter_set=asked.parameter_set,
            embedder=asked.embedder or ("pixels" if asked.channels else "descriptor"),
            dimension=asked.dimension,
            metric=Metric(asked.metric) if asked.metric else None,
            expected_size=asked.expected_size,
            max_norm=asked.max_norm,
            channels=asked.channels,
            size=asked.size,
        )
        async with self._keyholder.allowance.new_collection(self._vault.names):
            created = await self._vault.create(config)
        return pb.CreateCollectionResponse(collection=self._described(created).to_message())

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """Returns a collection."""
        found = await self._keyholder.collection(request.name)
        return pb.GetCollectionResponse(collection=self._described(found).to_message())

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """Returns all collections."""
        found = map(self._described, await self._vault.all())
        return pb.ListCollectionsResponse(collections=[one.to_message() for one in found])

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        """Removes a collection."""
        await self._keyholder.delete_collection(request.name)
        return pb.DeleteCollectionResponse()

    async def RenameCollection(
        self, request: pb.RenameCollectionRequest, context: Context
    ) -> pb.RenameCollectionResponse:
        """Gives a collection another name."""
        renamed = await self._keyholder.rename_collection(request.name, request.new_name)
        return pb.RenameCollectionResponse(collection=self._described(renamed).to_message())

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.SetAliasResponse:
        """Gives a collection an alias."""
        named = await self._keyholder.set_alias(request.alias, request.collection)
        return pb.SetAliasResponse(collection=self._described(named).to_message())

    async def RemoveAlias(self, request: pb.RemoveAliasRequest, context: Context) -> pb.RemoveAliasResponse:
        """Takes an alias from its collection."""
        named = await self._keyholder.remove_alias(request.alias)
        return pb.RemoveAliasResponse(collection=self._described(named).to_message())

    @heavy
    async def TruncateCollection(
        self, request: pb.TruncateCollectionRequest, context: Context
    ) -> AsyncIterator[pb.TruncateCollectionResponse]:
        """Removes all items of a collection."""
        async for state in self._keyholder.truncate_collection(request.name):
            yield state.to_message()

    def _described(self, opened: OpenCollection) -> CollectionInfo:
        return describing.collection(opened, self._vault.aliases(opened))

    @heavy
    async def Ingest(
        self, request_iterator: AsyncIterator[pb.IngestRequest], context: Context
    ) -> AsyncIterator[pb.IngestResponse]:
        """Stores photos or vectors."""
        requests = aiter(request_iterator)
        header = _ingest_header((await _first(requests, "header")).header)
        name = header.collection
        first = await anext(requests, None)
        if first is None:
            await self._vault.get(name)  # an unknown collection is an error even if nothing follows
            totals = IngestCounts()
        elif first.WhichOneof("part") == "vectors":
            if header.planes:
                raise InvalidArgument("planes of vectors, want photos: vectors have no pixels")
            totals = IngestCounts()
            blocks = ingesting.vector_blocks(_with(first, requests))
            async for totals in self._keyholder.ingest_vectors(header, blocks):
                yield pb.IngestResponse(progress=totals.to_message())
        else:
            counts = dict.fromkeys(OUTCOMES, 0)
            photos = ingesting.photos(_with(first, requests), exif=header.exif)
            async for result in self._keyholder.ingest_photos(header, photos):
                counts[result.outcome] += 1
                yield pb.IngestResponse(item=result.to_message())
            totals = IngestCounts(*counts.values())
        yield pb.IngestResponse(summary=totals.to_message())

    async def IngestImage(self, request: pb.IngestImageRequest, context: Context) -> pb.IngestImageResponse:
        """Stores one photo."""
        header = _ingest_header(request.settings)
        results: list[ItemResult] = []
        try:
            async for one in self._keyholder.ingest_photos(header, ingesting.whole_photo(request)):
                results.append(one)  # noqa: PERF401 - it counts, whatever comes after it
        except Draining:  # the rest of a stream would not be read
            if not results:
                raise
        (result,) = results
        return ingesting.outcome(result)

    async def Search(
        self, request_iterator: AsyncIterator[pb.SearchRequest], context: Context
    ) -> AsyncIterator[pb.SearchResponse]:
        """Finds the best matches of a photo or of vectors."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        header = SearchHeader.from_message((await _first(requests, "header")).header)
        search, shown = await self._begin(header)
        query = await anext(requests, None)
        part = query.WhichOneof("part") if query is not None else None
        if query is not None and part == "image":
            answers = search.photos(searching.query_photos(query.image, requests))
        elif query is not None and part == "item":
            reveal.require_own_query(caller())
            answers = search.items(await searching.query_items(query.item, requests))
        elif query is not None and part == "vectors":
            answers = search.run(await searching.query_vectors(query.vectors, requests))
        else:
            raise InvalidArgument(f"search stream: {part or 'nothing'} came, want a photo, an id or vectors")
        parts = with_reports(answers, search.progress)
        async with aclosing(parts):
            async for answer in parts:
                if isinstance(answer, SearchProgress):
                    yield pb.SearchResponse(progress=answer.to_message())
                elif isinstance(answer, MatchDrawing):
                    yield pb.SearchResponse(drawing=answer.to_message())
                else:
                    for message in searching.hits(shown(answer)):
                        yield message
        yield searching.closed(pb.SearchResponse(), search, started)

    async def SearchVectors(
        self, request: pb.SearchVectorsRequest, context: Context
    ) -> pb.SearchVectorsResponse:
        """Finds the best matches of vectors, in one message."""
        started = time.perf_counter()
        header = SearchHeader.from_message(request.settings)
        search, shown = await self._begin(header)
        answer, room = pb.SearchVectorsResponse(), searching.Room()
        parts = with_reports(search.run(searching.whole_vectors(request.vectors)), search.progress)
        async with aclosing(parts):
            async for part in parts:
                if not isinstance(part, SearchProgress):
                    answer.results.append(room.take(searching.whole(shown(part))))
        return searching.closed(answer, search, started)

    async def SearchImage(self, request: pb.SearchImageRequest, context: Context) -> pb.SearchImageResponse:
        """Finds the best matches of a photo, in one message."""
        started = time.perf_counter()
        header = SearchHeader.from_message(request.settings)
        search, shown = await self._begin(header)
        answer, room = pb.SearchImageResponse(), searching.Room()
        parts = with_reports(search.photos(searching.only(request.image)), search.progress)
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, MatchDrawing):
                    answer.drawings.append(room.take(part.to_message()))
                elif not isinstance(part, SearchProgress):
                    found = searching.whole(shown(part))
                    answer.hits.extend(map(room.take, found.hits))
                    if found.HasField("passes"):
                        answer.passes = found.passes
        return searching.closed(answer, search, started)

    async def _begin(self, header: SearchHeader) -> tuple[searching.Running, reveal.Shown]:
        """Returns a search, and what its caller is told of what it finds."""
        asked = reveal.asked(caller(), header)
        search = await self._keyholder.search(asked)
        found = await self._vault.get(asked.collection)
        return search, reveal.shown(caller(), asked, found.parameters.scheme, found.config.metric)

    async def Verify(
        self, request_iterator: AsyncIterator[pb.VerifyRequest], context: Context
    ) -> pb.VerifyResponse:
        """Decides whether two photos or two vectors, or one and an item, show the same thing."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        header = VerifyHeader.from_message((await _first(requests, "header")).header)
        reveal.require_verifying(caller(), header.threshold)
        decides = reveal.decides(caller())
        item = verifying.verify_item(header)
        inputs = await verifying.verify_inputs(requests)
        if item is None:
            settings = verifying.verify_settings(header)
            reveal.require_exact(caller(), parameters_for(settings.scheme, settings.parameter_set).scheme)
            if decides is not None:
                settings = replace(settings, threshold=as_distance(settings.metric, decides))
            made = await self._keyholder.verify_pair(settings, inputs)
        else:
            async with self._keyholder.using(header.collection) as found:
                threshold = header.threshold
                if decides is None:
                    reveal.require_exact(caller(), found.parameters.scheme)
                else:
                    threshold = as_distance(found.config.metric, decides)
            made = await self._keyholder.verify_item(*item, inputs, threshold)
        made.timings.total = time.perf_counter() - started
        return verifying.verification(made, decided=decides is not None).to_message()

    @heavy
    async def Combine(
        self, request_iterator: AsyncIterator[pb.CombineRequest], context: Context
    ) -> AsyncIterator[pb.CombineResponse]:
        """Computes a weighted sum of pictures or arrays under an additive scheme."""
        started = time.perf_counter()
        requests = aiter(request_iterator)
        header = CombineHeader.from_message((await _first(requests, "header")).header)
        settings = combining.combine_settings(header)
        inputs = await combining.combine_inputs(requests)
        async for answer in self._keyholder.combine(settings, inputs):
            if isinstance(answer, CombineProgress):
                yield pb.CombineResponse(progress=answer.to_message())
            else:
                result, data = combining.result(answer, time.perf_counter() - started)
                yield pb.CombineResponse(result=result.to_message())
                for chunk in transfer.chunks(data):
                    yield pb.CombineResponse(chunk=chunk)

    async def GetOriginal(
        self, request: pb.GetOriginalRequest, context: Context
    ) -> AsyncIterator[pb.GetOriginalResponse]:
        """Returns the original of a photo."""
        metadata, data = await self._keyholder.original(request.collection, request.id)
        header = OriginalHeader.of(data, id=metadata.id, name=metadata.name, media_type=metadata.media_type)
        yield pb.GetOriginalResponse(header=header.to_message())
        for chunk in transfer.chunks(data):
            yield pb.GetOriginalResponse(chunk=chunk)

    async def GetPlanes(
        self, request: pb.GetPlanesRequest, context: Context
    ) -> AsyncIterator[pb.GetPlanesResponse]:
        """Returns a photo's pixels, decrypted from its planes."""
        metadata, image = await self._keyholder.planes(request.collection, request.id)
        header, data = PlanesHeader.of(image, id=metadata.id, name=metadata.name)
        yield pb.GetPlanesResponse(header=header.to_message())
        for chunk in transfer.chunks(data):
            yield pb.GetPlanesResponse(chunk=chunk)

    async def ListItems(self, request: pb.ListItemsRequest, context: Context) -> pb.ListItemsResponse:
        """Returns a page of items."""
        asked = ListRequest.from_message(request)
        async with self._keyholder.using(asked.collection) as collection:
            page = await self._items.page(
                collection,
                _filter(asked.where),
                size=asked.page_size,
                token=asked.page_token,
                order=asked.order,
                descending=asked.descending,
            )
        return page.to_message()

    async def CountItems(self, request: pb.CountItemsRequest, context: Context) -> pb.CountItemsResponse:
        """Returns the number of items."""
        asked = CountRequest.from_message(request)
        async with self._keyholder.using(asked.collection) as collection:
            return pb.CountItemsResponse(items=await self._items.count(collection, _filter(asked.where)))

    async def GetItem(self, request: pb.GetItemRequest, context: Context) -> pb.GetItemResponse:
        """Returns one item."""
        with naming((request.collection, request.id)):
            async with self._keyholder.using(request.collection) as collection:
                metadata = await self._items.get(collection, request.id)
        return pb.GetItemResponse(item=described(metadata).to_message())

    async def GetVector(self, request: pb.GetVectorRequest, context: Context) -> pb.GetVectorResponse:
        """Returns the vector of an item."""
        with naming((request.collection, request.id)):
            async with self._keyholder.using(request.collection) as collection:
                vector = await self._keyholder.vectors.of_item(collection, request.id, request.index)
                return vector.to_message()

    async def UpdateItems(self, request: pb.UpdateItemsRequest, context: Context) -> pb.UpdateItemsResponse:
        """Changes metadata of items."""
        asked = UpdateRequest.from_message(request)
        given = asked.set.values if asked.set is not None else {}
        with naming(*((asked.collection, one) for one in asked.ids)):
            async with self._keyholder.using(asked.collection) as collection:
                updated, unknown = await self._items.update(
                    collection, asked.ids, _filter(asked.where), given, asked.remove
                )
        return Updated(updated, tuple(unknown)).to_message()

    async def DeleteItems(self, request: pb.DeleteItemsRequest, context: Context) -> pb.DeleteItemsResponse:
        """Deletes items."""
        asked = DeleteRequest.from_message(request)
        deleted, unknown = await self._keyholder.delete_items(asked.collection, asked.ids, asked.where)
        return Deletion(deleted, tuple(unknown)).to_message()

    @heavy
    async def Repack(self, request: pb.RepackRequest, context: Context) -> AsyncIterator[pb.RepackResponse]:
        """Re-encrypts the tail into full segments."""
        async for state in self._keyholder.repack(request.collection):
            yield state.to_message()

    @heavy
    async def Check(self, request: pb.CheckRequest, context: Context) -> AsyncIterator[pb.CheckResponse]:
        """Reads all of a collection, says what is damaged, and repairs it if asked to."""
        if request.repair:
            require_role(MAY_REPLACE, "repair a collection")
        async for state in self._keyholder.check(request.collection, repair=request.repair):
            yield state.to_message()

    async def AcceptRollback(
        self, request: pb.AcceptRollbackRequest, context: Context
    ) -> pb.AcceptRollbackResponse:
        """Accepts that storage was set back."""
        accepted = await self._keyholder.accept_rollback(request.name)
        slots = accepted.collection.slots
        return Rollback(accepted.before, slots.sequence, slots.items, accepted.set_back).to_message()

    async def AcknowledgeAlarms(
        self, request: pb.AcknowledgeAlarmsRequest, context: Context
    ) -> pb.AcknowledgeAlarmsResponse:
        """Ends alarms that the owner has seen."""
        acknowledged = self._keyholder.acknowledge_alarms(request.up_to_number)
        return pb.AcknowledgeAlarmsResponse(acknowledged=acknowledged)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """Returns the state of all three services."""
        if scope.only() is not None:
            raise PermissionDenied("permission denied: a token for some collections may not see the status")
        services = await self._keyholder.status()
        fenced = self._keyholder.lease.fenced
        collections = await self._vault.all() if services[-1].reachable and not fenced else []
        return VaultStatus(
            services,
            self._keyholder.keys.key_id.hex(),
            tuple(map(self._described, collections)),
            tuple(self._vault.lost),
            self._keyholder.alarms,
            self._vault.unreadable,
            fenced,
        ).to_message()


def register(current: Callable[[], Keyholder], server: grpc.aio.Server) -> None:
    """Adds the keyholder's rpcs to a server; see `KeyholderServicer`."""
    keyholder_pb2_grpc.add_KeyholderServiceServicer_to_server(KeyholderServicer(current), server)


def _ingest_header(message: pb.IngestHeader) -> IngestHeader:
    header = IngestHeader.from_message(message)
    if header.upsert:
        require_role(MAY_REPLACE, "replace items")
    return header


def _filter(where: Where | None) -> Filter | None:
    return where.filter if where is not None else None


async def _first(requests: AsyncIterator[Any], part: str) -> Any:
    """Returns the first message of a stream.

    Raises:
        InvalidArgument: if it has another part, or the stream is empty.
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
