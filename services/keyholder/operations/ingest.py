"""Stores the photos or vectors of one stream in a collection; answers after the commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from blindsight.errors import AlreadyExists, BlindsightError, InvalidArgument
from blindsight.packing.columns import Floats
from blindsight.packing.tiling import Tiling
from blindsight.parameters import of_ring
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.ingest.pipeline import (
    Batch,
    Claim,
    Pipeline,
    PreparedPhoto,
    identify,
    stacked,
    vector_items,
)
from blindsight.trusted.ingest.read_ahead import groups
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.similarity import linear
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.batching import first_of_each
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.items import FoundItem, Items
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Ahead, Writer
from blindsight.wire.ingest import IngestCounts, ItemResult
from blindsight.wire.metadata import Values, joined
from services.keyholder.catalog.catalog import Catalog

MAX_BATCH_PHOTOS = 1024
_WITHOUT_PLANES = "it is there without planes; delete it first to store it with them"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Vectors:
    """The user's own vectors, float [count, dimension], with ids; without ids they are numbered.

    Attributes:
        metadata: of each; empty: of none.
    """

    values: Floats
    ids: Sequence[str]
    metadata: Sequence[Values] = ()


@dataclass(frozen=True, slots=True)
class _Group:
    """Vectors that are checked, and encrypted for the slots that they get if no other write comes first."""

    rows: Floats
    vectors: Vectors
    ahead: Ahead


@dataclass(frozen=True, slots=True)
class _Examined:
    """The answer for a photo, and the item that must be stored before that; None if there is none."""

    result: ItemResult
    claim: Claim | None = None
    prepared: PreparedPhoto | None = None


class Ingest:
    """The ingest of one stream into one collection.

    Args:
        vault: the collections.
        storage: client of storage.
        crypto: worker processes that decode, embed and encrypt.
        writer: assigns slots, encrypts and appends.
        catalog: knows when items came whose places others take.
        collection: receives the items.
        planes: whether encrypted pixel planes of photos are stored, too.
        halo: pixels around every tile of these planes.
        metadata: of all photos or vectors; what they bring themselves goes before.
        upsert: whether an item with the id of another takes its place.

    Raises:
        InvalidArgument: if planes are wanted under an additive scheme, or the halo is too wide or without
            planes.
    """

    def __init__(
        self,
        vault: Vault,
        storage: StorageClient,
        crypto: Crypto,
        writer: Writer,
        catalog: Catalog,
        collection: OpenCollection,
        *,
        planes: bool = False,
        halo: int = 0,
        metadata: Values = MappingProxyType({}),
        upsert: bool = False,
    ) -> None:
        self._vault = vault
        self._writer = writer
        self._catalog = catalog
        self._pipeline = Pipeline(Items(vault, storage), crypto, writer)
        self._at_once = 2 * crypto.processes  # so that no process waits for work
        self._gate = asyncio.Semaphore(self._at_once)
        self._collection = collection
        if planes:
            Tiling(1, 1, 1, of_ring(collection.parameters, "planes").ring_degree, halo)
        elif halo:
            raise InvalidArgument(f"a halo of {halo} pixels without planes, want planes that have it")
        self._halo = halo if planes else None
        self._metadata = metadata
        self._upsert = upsert
        self._waiting: set[bytes] = set()

    async def photos(self, coming: AsyncIterator[Photo]) -> AsyncIterator[ItemResult]:
        """Stores photos; yields the result of each, in batches, after storage committed them.

        Raises:
            InvalidArgument: if the collection takes vectors only.
            Unavailable: if storage does not answer; photos without a result were not stored.
        """
        if not self._collection.config.takes_photos:
            raise InvalidArgument("the collection takes vectors only, got a photo (embedder none)")
        batch = self._next_batch()
        async with aclosing(self._examined(coming)) as arriving:
            async for examined in arriving:
                # A duplicate of a photo that waits to be stored is answered with it: only then is it certain.
                claim = examined.claim
                if claim is None or (examined.prepared is None and claim.handle not in self._waiting):
                    yield examined.result
                    continue
                self._waiting.add(claim.handle)
                batch.add(examined, examined.prepared)
                if batch.full:
                    for result in await _finished(self._store(batch)):
                        yield result
                    batch = self._next_batch()
        for result in await _finished(self._store(batch)):
            yield result

    def _next_batch(self) -> Batch[_Examined]:
        self._waiting.clear()
        return Batch(self._collection, MAX_BATCH_PHOTOS)

    async def _examined(self, coming: AsyncIterator[Photo]) -> AsyncGenerator[_Examined, None]:
        """Examines several photos at a time, in order; those that came together share a look-up."""
        running: deque[asyncio.Task[_Examined]] = deque()
        try:
            async with aclosing(groups([photo] async for photo in coming)) as arriving:
                async for group in arriving:
                    running.extend(asyncio.create_task(self._examine(photo)) for photo in group)
                    # The next group is looked up while the last photos of this one keep the processes busy.
                    while running and (running[0].done() or len(running) > self._at_once):
                        yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _examine(self, photo: Photo) -> _Examined:
        try:
            identified = await identify(self._collection, photo)
        except BlindsightError as error:
            return _rejected(photo, error)
        # Outside of `try`: an error of storage is not the photo's fault, and ends the ingest.
        known = None if self._upsert else await self._pipeline.find(identified)
        duplicate = ItemResult(photo.index, "duplicate", identified.item_id)
        if known is not None:
            return _Examined(self._judged(duplicate, identified.claim, known))
        if self._upsert:
            since = (await self._arrivals([identified.handle])).get(identified.handle)
            identified = replace(identified, photo=replace(photo, arrived=since or photo.arrived))
        async with self._gate:
            if identified.handle in self._waiting and not self._upsert:
                return _Examined(duplicate, identified.claim)
            try:
                if photo.vectors and not self._collection.config.describes:
                    await self._decide_norm(stacked(photo, self._collection.config.dimension))
                prepared = await self._pipeline.prepare(identified, halo=self._halo, values=self._metadata)
            except BlindsightError as error:
                return _rejected(photo, error)
        result = ItemResult(photo.index, "stored", identified.item_id, remark=prepared.remark)
        return _Examined(result, identified.claim, prepared)

    async def _arrivals(self, handles: Sequence[bytes]) -> dict[bytes, int]:
        """Returns when those of these items came that are there, by handle.

        What takes an item's place has its place in lists, too: who upserts what a list gives out, item for
        item, would else never come to its end, and a list from the last to the first would miss items.
        """
        known = await self._catalog.find(self._collection, handles)
        return {
            handle: one.added_microseconds for handle, one in known.items() if isinstance(one, ItemMetadata)
        }

    def _judged(self, duplicate: ItemResult, claim: Claim, known: FoundItem) -> ItemResult:
        """Returns the answer for a photo whose id is in the collection already."""
        try:
            claim.require_same(known.metadata)
        except AlreadyExists as error:
            return _refusal(duplicate.index, claim.item_id, error)
        remarks = claim.remarks(self._collection, known.metadata, self._metadata)
        if self._halo is not None and not known.stored.planes_size_bytes:
            remarks.append(_WITHOUT_PLANES)
        return replace(duplicate, remark="; ".join(remarks))

    async def _store(self, batch: Batch[_Examined]) -> list[ItemResult]:
        """Stores a batch; items that another client stored meanwhile are duplicates."""
        prepared = [examined.prepared for examined in batch.entries if examined.prepared is not None]
        if self._upsert and prepared:
            last = {one.item.handle: one for one in prepared}  # of two with one id the later one stays
            await self._pipeline.replace(self._collection, list(last.values()))
            return [examined.result for examined in batch.entries]
        own = iter(await self._pipeline.store(self._collection, prepared) if prepared else ())
        stored = [examined.prepared is not None and next(own) for examined in batch.entries]
        answers = zip(stored, batch.entries, strict=True)
        return await asyncio.gather(*(self._answer(*one) for one in answers))

    async def _answer(self, stored: bool, examined: _Examined) -> ItemResult:
        """Returns the answer for a photo of a batch: one that was not stored may have another's id."""
        if stored or examined.claim is None:
            return examined.result
        duplicate = replace(examined.result, outcome="duplicate", remark="")
        known = await self._pipeline.stored(self._collection, examined.claim.handle)
        return self._judged(duplicate, examined.claim, known) if known is not None else duplicate

    async def vectors(self, blocks: AsyncIterator[Vectors]) -> AsyncIterator[IngestCounts]:
        """Stores vectors; yields how many are stored, after storage committed them.

        Raises:
            InvalidArgument: if the collection takes photos.
            InvalidVector: if the metric cannot take a row.
            AlreadyExists: if an id is in the collection already; rows that were answered before stay stored.
        """
        if self._collection.config.takes_photos:
            raise InvalidArgument(
                f"the collection takes photos, got vectors (embedder {self._collection.config.embedder})"
            )
        collection, stored = self._collection, 0
        async with aclosing(_gather(blocks, collection.layout.main.capacity)) as groups:
            coming = asyncio.create_task(self._next_group(groups, collection.slots))
            try:
                while (group := await coming) is not None:
                    # While this group is stored, the next one is received and encrypted.
                    slots = collection.slots.expected(
                        collection.layout, len(group.rows), collection.batch_limits
                    )
                    coming = asyncio.create_task(self._next_group(groups, slots))
                    await _finished(self._store_vectors(group, stored))
                    stored += len(group.rows)
                    yield IngestCounts(stored=stored)
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _next_group(self, groups: AsyncIterator[Vectors], slots: SlotMap) -> _Group | None:
        """Checks and encrypts the next vectors; returns None at their end."""
        vectors = await anext(groups, None)
        if vectors is None:
            return None
        collection = self._collection
        await self._decide_norm(vectors.values)
        linear.check_vectors(vectors.values, collection.config.dimension)
        rows = collection.linear().rows(vectors.values)
        return _Group(rows, vectors, await self._writer.encrypt(collection, slots, rows))

    async def _store_vectors(self, group: _Group, first_row: int) -> None:
        collection = self._collection
        async with collection.lock:
            start = collection.next_number
            ids = group.vectors.ids or [str(start + row) for row in range(len(group.rows))]
            metadata = group.vectors.metadata
            if self._metadata:
                metadata = [joined(self._metadata, one) for one in metadata or [{}] * len(ids)]
            since = await self._arrivals(collection.handles(ids)) if self._upsert else {}
            items = await asyncio.to_thread(vector_items, collection, ids, metadata, since)
            if self._upsert:
                await self._writer.replace(collection, group.rows, items)
                return
            if group.vectors.ids:  # else they are numbers that no item ever had, unless it was given one
                await self._require_new(items, ids, first_row)
            await self._writer.append(collection, group.rows, items, group.ahead)

    async def _decide_norm(self, vectors: Floats) -> None:
        """Sets the largest norm of a dot or Euclidean collection by its first vectors."""
        if self._collection.config.max_norm > 0:
            return
        linear.check_vectors(vectors, self._collection.config.dimension)
        longest = float(np.linalg.norm(vectors, axis=1).max())
        async with self._collection.lock:
            if self._collection.config.max_norm > 0:
                return  # another client's vectors were first
            norm = longest * linear.NORM_HEADROOM or 1.0
            await self._writer.configure(self._collection, partial(replace, max_norm=norm))

    async def _require_new(self, items: Sequence[NewItem], ids: Sequence[str], first_row: int) -> None:
        handles = [item.handle for item in items]
        known = self._collection.slots.versions(handles)
        if known:
            await self._vault.refresh(self._collection)  # others may have deleted them
            known = self._collection.slots.versions(handles)
        fresh = set(first_of_each(handles, known))
        for index in range(len(handles)):
            if index not in fresh:
                raise AlreadyExists(
                    f"row {first_row + index}: item {ids[index]!r} is in collection "
                    f"{self._collection.config.name!r} already; {first_row} rows before it are stored"
                )


async def _gather(blocks: AsyncIterator[Vectors], count: int) -> AsyncGenerator[Vectors, None]:
    """Regroups blocks into groups of `count` rows; the last may be shorter."""
    values: list[Floats] = []
    ids: list[str] = []
    metadata: list[Values] = []
    held = 0
    async for block in blocks:
        values.append(block.values)
        ids.extend(block.ids)
        metadata.extend(block.metadata)
        held += len(block.values)
        while held >= count:
            joined = np.concatenate(values)
            yield Vectors(joined[:count], ids[:count], metadata[:count])
            values, ids, metadata, held = [joined[count:]], ids[count:], metadata[count:], held - count
    if held:
        yield Vectors(np.concatenate(values), ids, metadata)


async def _finished(writing: Coroutine[Any, Any, _Result]) -> _Result:
    """Waits for a write, which runs to its end even if the caller is cancelled.

    A cancelled append may still be committed; the slot map and the numbers of the next items would lack it.
    """
    task = asyncio.create_task(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # marks it as retrieved, since nobody else reads it
        raise


def _rejected(photo: Photo, error: BlindsightError) -> _Examined:
    return _Examined(_refusal(photo.index, photo.id, error))


def _refusal(index: int, item_id: str, error: BlindsightError) -> ItemResult:
    return ItemResult(index, "rejected", item_id, error.reason, error.message)
