"""The keyholder's operations on the collections of one key set; they know no messages.

One process may serve several key sets: each is a `Keyholder` with a folder of its own, and all use one
`Machine`.  Servicers ask for the keyholder of each call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import blindsight
from blindsight.errors import BlindsightError, DataLoss, Draining, InvalidArgument, NotFound
from blindsight.packing.columns import Floats
from blindsight.packing.planes import Integers
from blindsight.packing.segments import Region
from blindsight.runtime import host, logs
from blindsight.runtime.transfer import until
from blindsight.trusted import embedders
from blindsight.trusted.clients.fencing import FENCED
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.queue import Queue
from blindsight.trusted.records import ItemMetadata, PeerStatus
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.heads import Heads
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.names import composed, not_an_alias
from blindsight.trusted.vault.naming import Naming
from blindsight.trusted.vault.repack import Repack, due
from blindsight.trusted.vault.vault import Rollback, Vault
from blindsight.trusted.vault.writer import Writer, Written
from blindsight.wire.collections import (
    Alarm,
    CheckProgress,
    Damage,
    RepackProgress,
    ServiceStatus,
    TruncateProgress,
)
from blindsight.wire.combine import CombineProgress
from blindsight.wire.ingest import IngestCounts, IngestHeader, ItemResult
from blindsight.wire.metadata import Where
from blindsight.wire.search import SearchHeader
from services.keyholder import metrics
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.alarms.store import FILE_NAME as ALARMS_FILE_NAME
from services.keyholder.alarms.store import AlarmStore
from services.keyholder.catalog.catalog import Catalog
from services.keyholder.catalog.store import FILE_NAME as CATALOG_FILE_NAME
from services.keyholder.catalog.store import CatalogStore
from services.keyholder.galleries.answer_keys import AnswerKeys
from services.keyholder.galleries.follower import Follower
from services.keyholder.galleries.store import FILE_NAME as ANSWER_KEYS_FILE_NAME
from services.keyholder.galleries.store import AnswerKeyStore
from services.keyholder.heads.store import FILE_NAME as HEADS_FILE_NAME
from services.keyholder.heads.store import HeadStore
from services.keyholder.imaging.facade import Processing
from services.keyholder.jobs.connecting import BulkIngest
from services.keyholder.jobs.importer import Imports
from services.keyholder.jobs.store import JobStore
from services.keyholder.lease import Lease
from services.keyholder.machine import Machine
from services.keyholder.operations.check import Check
from services.keyholder.operations.combine import Combination, Combine, CombineSettings
from services.keyholder.operations.combine import Input as CombineInput
from services.keyholder.operations.ingest import Ingest, Vectors
from services.keyholder.operations.items import ItemOperations
from services.keyholder.operations.keypoint_search import CANDIDATES, Recognition
from services.keyholder.operations.naming import naming
from services.keyholder.operations.planes import Planes
from services.keyholder.operations.products import Multiplier
from services.keyholder.operations.repair import Repair
from services.keyholder.operations.scoring import Scorer
from services.keyholder.operations.search import Search, embed_query
from services.keyholder.operations.side import Side
from services.keyholder.operations.vectors import StoredVectors
from services.keyholder.operations.verify import Compared, Input, Verify, VerifySettings
from services.keyholder.quotas import Allowance

DEFAULT_K = 5


class Keyholder:
    """The keyholder of one key set.

    Args:
        keys: the key set.
        machine: what it shares with those of other key sets; it is open for longer.
        folder: where it keeps what it knows of its collections; its size is part of the status.
        lease: the right to write under these keys.
        idle_seconds: its worker processes end when they have nothing to do for so long, and start when they
            are needed; None: they start with it, and stay.
        allowance: what a tenant may use; None: it is the operator's, whose status tells of whole services.

    Attributes:
        allowance: the same; the operator's has no limits.
        repacks: whether collections are repacked in the background.
    """

    def __init__(
        self,
        keys: KeySet,
        machine: Machine,
        folder: Path,
        lease: Lease,
        idle_seconds: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self.keys = keys
        self.lease = lease
        self._folder = folder
        self._machine = machine
        self._idle_seconds = idle_seconds
        self._of_tenant = allowance is not None
        self.allowance = allowance or Allowance(None, machine.turns.make_way)
        self._storage = storage = machine.storage.fenced_by(lease)
        self._evaluator = evaluator = machine.evaluator
        self._threads = machine.threads
        self._crypto = Crypto(keys, machine.workers, metrics.CRYPTO, machine.processes, idle_seconds)
        self._heads = HeadStore(folder / HEADS_FILE_NAME, Sealer(keys.subkey("heads")))
        self.vault = Vault(keys, storage, evaluator, Heads(self._heads.load(), self._heads.save))
        self._alarm_store = AlarmStore(folder / ALARMS_FILE_NAME, Sealer(keys.subkey("alarms")))
        self._alarms = Alarms(self._alarm_store)
        store = AnswerKeyStore(folder / ANSWER_KEYS_FILE_NAME)
        self._answer_keys = AnswerKeys(store, storage, self._threads)
        self._follower = Follower(evaluator)
        self._items = Items(self.vault, storage)
        catalog = CatalogStore(folder / CATALOG_FILE_NAME, keys.subkey("catalog"))
        self._catalog = Catalog(catalog, self._items)
        room = partial(self.allowance.room, self.vault.used)
        self._writer = Writer(self.vault, storage, self._crypto, self._written, room)
        self._naming = Naming(self.vault, self._writer)
        self.items = ItemOperations(self.vault, self._catalog, self._writer)
        self.vectors = StoredVectors(self.vault, storage, self._crypto, self._catalog)
        self._scorer = Scorer(
            self.vault,
            evaluator,
            self._crypto,
            self._answer_keys,
            self._threads,
            self._alarms,
            machine.turns,
        )
        multiplier = Multiplier(evaluator, self._threads, self._alarms, keys.key_id)
        self._verify = Verify(self.vault, self._catalog, self._crypto, self._scorer, multiplier)
        self._planes = Planes(self._items, storage, self._crypto)
        self._combinations = Combine(
            evaluator, self._crypto.pool, self._crypto.decoders, machine.combine_seconds
        )
        self.processing = Processing(
            keys,
            self.vault,
            self._planes,
            evaluator,
            self._crypto,
            self._combinations,
            multiplier,
            self._alarms,
            machine.imaging,
        )
        self._repacking: dict[bytes, asyncio.Task[None]] = {}
        self.repacks = True
        self._preloading: asyncio.Task[None] | None = None
        self._bulk: BulkIngest | None = None
        self._stopping = asyncio.Event()
        # Each returns a sentence for the status, or nothing.
        self.warnings: list[Callable[[], str]] = []

    async def open_imports(
        self, store: JobStore, open_queue: Callable[[], Queue], keep_jobs_days: float
    ) -> None:
        """Opens bulk ingest; the store and the queue are closed with the keyholder.

        A queue that does not answer yet is opened in the background.

        Raises:
            InvalidArgument, DataLoss: if the queue is misconfigured or damaged.
        """
        make = partial(
            Imports, self.keys, self.vault, store, after_import=self._after_write, keep_days=keep_jobs_days
        )
        self._bulk = BulkIngest(store, open_queue, make)
        await self._bulk.start()

    @property
    def side(self) -> Side:
        """What moves collections from one key set to another."""
        parts = self.vault, self._storage, self._crypto, self._items, self._writer, self._planes
        return Side(*parts)

    async def imports_under_way(self) -> bool:
        """Returns whether photos of imports wait for workers, or failed and may be tried again.

        Raises:
            Unavailable: if the queue does not answer.
        """
        return self._bulk is not None and await self._bulk.imports.under_way()

    @property
    def imports(self) -> Imports:
        """The imports of bulk ingest.

        Raises:
            InvalidArgument: if the keyholder was started without a queue.
            Unavailable: if the queue does not answer yet.
        """
        if self._of_tenant:
            raise InvalidArgument("a tenant has no bulk ingest: ingest without --bulk")
        if self._bulk is None:
            raise InvalidArgument(
                "the keyholder has no queue for bulk ingest; start it with BLINDSIGHT_KEYHOLDER_QUEUE_URL"
            )
        return self._bulk.imports

    async def start(self) -> None:
        """Takes the lease at storage, and starts the worker processes, unless those end when they are idle.

        What filters are computed on is loaded in the background.

        Raises:
            Fenced: if another keyholder of these keys has the lease, and lives.
        """
        await self.lease.start(self._storage)
        if self._idle_seconds is None:
            await self._crypto.warm()
        self._preloading = asyncio.create_task(self._catalog.preload())

    def drain(self) -> None:
        """Ends streams that last as long as their clients send; what was received is stored and answered."""
        self._stopping.set()
        if self._bulk is not None:
            self._bulk.drain()

    async def close(self) -> None:
        """Cancels background work, closes bulk ingest and the worker processes, and gives the lease back."""
        background = [*self._repacking.values(), *filter(None, [self._preloading])]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._follower.close()
        if self._bulk is not None:
            await self._bulk.close()
        await self._answer_keys.close()
        await self._catalog.close()
        await asyncio.to_thread(self._heads.close)
        await asyncio.to_thread(self._alarm_store.close)
        await asyncio.to_thread(self._crypto.close)
        await self.lease.close(self._storage)

    async def ingest_photos(
        self, header: IngestHeader, photos: AsyncIterator[Photo]
    ) -> AsyncIterator[ItemResult]:
        """Stores photos in a collection; see `Ingest.photos`."""
        async with self.using(header.collection) as collection:
            async for result in self._ingest(collection, header).photos(until(self._stopping, photos)):
                yield result
            self._after_write(collection)
            self._unless_stopping()

    async def ingest_vectors(
        self, header: IngestHeader, blocks: AsyncIterator[Vectors]
    ) -> AsyncIterator[IngestCounts]:
        """Stores vectors in a collection; see `Ingest.vectors`."""
        async with self.using(header.collection) as collection:
            async for progress in self._ingest(collection, header).vectors(until(self._stopping, blocks)):
                yield progress
            self._after_write(collection)
            self._unless_stopping()

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[OpenCollection]:
        """Gives a collection to the block; what is wrong with it, and with what comes of it, is an alarm.

        Raises:
            NotFound: if it does not exist.
            DataLoss: if storage's state of it is not what was written, or older than this keyholder has seen.
        """
        with self._alarms.watching(name):
            collection = await self.vault.get(name)
        with self._alarms.watching(collection.config.name):
            yield collection

    def _unless_stopping(self) -> None:
        """Raises Draining if the keyholder is stopping, since the stream was not read to its end."""
        if self._stopping.is_set():
            raise Draining("the keyholder is stopping; what it has answered is done, send the rest again")

    def _ingest(self, collection: OpenCollection, header: IngestHeader) -> Ingest:
        return Ingest(
            self.vault,
            self._storage,
            self._crypto,
            self._writer,
            self._catalog,
            collection,
            planes=header.planes,
            halo=header.plane_halo,
            metadata=header.metadata.values if header.metadata is not None else {},
            upsert=header.upsert,
        )

    async def search(self, header: SearchHeader) -> Search | Recognition:
        """Returns a search of a collection, to be run on vectors or a photo.

        Raises:
            InvalidArgument: if the settings do not fit the collection.
        """
        name, draw = header.collection, header.draw
        async with self.using(name) as collection:
            recognising = collection.config.embedder == embedders.SIFT
            k = header.k or DEFAULT_K
            if draw and not recognising:
                raise InvalidArgument(
                    f"pictures of matches in collection {name!r} (embedder {collection.config.embedder}), "
                    "want embedder sift for them: other vectors have no keypoints"
                )
            search = Search(
                self._scorer,
                self._catalog,
                self.vectors,
                self._crypto,
                collection,
                k=CANDIDATES if recognising else k,
                threshold=None if recognising else header.threshold,
                query_visible_to_server=header.query_visible_to_server,
                where=header.where.filter if header.where is not None else None,
                vector_name=header.vector_name,
                offset=0 if recognising else header.offset,
            )
            if not recognising:
                return search
            return Recognition(
                search,
                self._items,
                self._storage,
                self._crypto,
                collection,
                k=k,
                threshold=header.threshold,
                offset=header.offset,
                draw=draw,
            )

    async def _embed(self, collection: OpenCollection, data: bytes) -> tuple[Floats, float]:
        """Embeds a photo; returns the vector [dimension] and the seconds it took; see `embed_query`."""
        started = time.perf_counter()
        embedded = await embed_query(self._crypto, self._scorer.turns, collection, data)
        return embedded.vector.astype(np.float64), time.perf_counter() - started

    async def verify_pair(self, settings: VerifySettings, inputs: Sequence[Input]) -> Compared:
        """Compares two photos or two vectors; see `Verify.pair`."""
        return await self._verify.pair(settings, inputs)

    async def verify_item(
        self, name: str, item_id: str, inputs: Sequence[Input], threshold: float | None
    ) -> Compared:
        """Compares a photo or a vector with an item; see `Verify.item`."""
        if len(inputs) != 1:
            raise InvalidArgument(f"{len(inputs)} inputs, want one photo or vector to compare with the item")
        async with self.using(name) as collection:
            vector, seconds = inputs[0], 0.0
            if isinstance(vector, bytes):
                vector, seconds = await self._embed(collection, vector)
            with naming((name, item_id)):
                verification = await self._verify.item(collection, item_id, vector, threshold)
        verification.timings.embed = seconds
        return verification

    async def collection(self, name: str) -> OpenCollection:
        """Returns a collection with fresh counters."""
        with self._alarms.watching(name):
            return await self._fresh(name)

    async def _fresh(self, name: str) -> OpenCollection:
        collection = await self.vault.get(name)
        try:
            await self.vault.refresh(collection)
        except NotFound:  # it was there when it was opened
            return await self.vault.get(name)
        return collection

    async def original(self, name: str, item_id: str) -> tuple[ItemMetadata, bytes]:
        """Returns the metadata and the original file of a photo.

        Raises:
            NotFound: if there is no such item, or it is a vector.
        """
        with naming((name, item_id)):
            async with self.using(name) as collection:
                return await self._items.steady(collection, partial(self._original, collection, item_id))

    async def _original(self, collection: OpenCollection, item_id: str) -> tuple[ItemMetadata, bytes]:
        handle = collection.handle(item_id)
        found = (await self._items.find(collection, [handle])).get(handle)
        if found is None:
            raise NotFound(f"no item {item_id!r} in collection {collection.config.name!r}")
        if not found.stored.original_size_bytes:
            raise NotFound("it is a vector; it has no original")
        sealed = await self._storage.read_original(collection.record.collection_id, handle)
        return found.metadata, await asyncio.to_thread(collection.open_original, found.key, sealed)

    async def planes(self, name: str, item_id: str) -> tuple[ItemMetadata, Integers]:
        """Returns the metadata and decrypted pixels of a photo; see `Planes.read`."""
        with naming((name, item_id)):
            async with self.using(name) as collection:
                return await self._planes.read(collection, item_id)

    async def combine(
        self, settings: CombineSettings, inputs: Sequence[CombineInput]
    ) -> AsyncIterator[CombineProgress | Combination]:
        """Computes a weighted sum; see `Combine.run`."""
        with self._alarms.watching("inputs of no collection"):
            async for answer in self._combinations.run(settings, inputs):
                yield answer

    async def delete_items(self, name: str, ids: Sequence[str], where: Where | None) -> tuple[int, list[str]]:
        """Deletes items; see `ItemOperations.delete`."""
        with naming(*((name, one) for one in ids)):
            async with self.using(name) as collection:
                done = await self.items.delete(collection, ids, where.filter if where is not None else None)
                self._repack_if_due(collection)
                return done

    async def delete_collection(self, name: str) -> None:
        """Deletes a collection and everything in it; see `Vault.delete`."""
        collection_id = await self.vault.delete(name)
        self._follower.forget(collection_id)
        await self._answer_keys.forget(collection_id)
        await self._catalog.forget(collection_id)

    async def truncate_collection(self, name: str) -> AsyncIterator[TruncateProgress]:
        """Removes all items of a collection; see `Writer.truncate`."""
        async with self.using(name) as collection:
            if composed(name) != collection.config.name:
                raise not_an_alias(name, collection.config.name)
            await self.vault.refresh(collection)
            yield TruncateProgress(0, collection.slots.items)
            async with collection.lock:
                removed = await self._writer.truncate(collection)
                await self._answer_keys.emptied(collection)
                await self._catalog.emptied(collection.record.collection_id)
            self._follower.fetch(collection.record.collection_id)
            yield TruncateProgress(removed, removed)

    async def rename_collection(self, name: str, new: str) -> OpenCollection:
        """Gives a collection another name, under which its alarms stand on; see `Naming.rename`."""
        async with self.using(name) as collection:
            old = collection.config.name
            renamed = await self._naming.rename(name, new)
        self._alarms.rename(old, renamed.config.name)
        return renamed

    async def set_alias(self, alias: str, name: str) -> OpenCollection:
        """Gives a collection an alias; see `Naming.set_alias`."""
        async with self.using(name):
            return await self._naming.set_alias(alias, name)

    async def remove_alias(self, alias: str) -> OpenCollection:
        """Takes an alias from its collection; see `Naming.remove_alias`."""
        async with self.using(alias):
            return await self._naming.remove_alias(alias)

    async def accept_rollback(self, name: str) -> Rollback:
        """Accepts that storage was set back; see `Vault.accept_rollback`."""
        accepted = await self.vault.accept_rollback(name)
        await self._answer_keys.forget(accepted.collection.record.collection_id)
        return accepted

    async def repack(self, name: str) -> AsyncIterator[RepackProgress]:
        """Repacks a collection; see `Repack.run`."""
        async with self.using(name) as collection:
            async for progress in self._repack().run(collection):
                yield progress
                self._unless_stopping()
            self._follower.fetch(collection.record.collection_id)

    async def check(self, name: str, *, repair: bool = False) -> AsyncIterator[CheckProgress]:
        """Reads all that storage has of a collection; see `Check.run`, and `Repair.run`."""
        try:
            collection = await self._fresh(name)
        except DataLoss as error:
            yield CheckProgress(damaged=1, damages=(Damage("collection", "", error.message),))
            return
        self._catalog.look_again(collection)
        check = Check(self.vault, self._storage, self._items, self._catalog, collection)
        async for state in check.run():
            yield state
            self._unless_stopping()
        if not repair:
            return
        repairing = Repair(
            self.vault, self._storage, self._items, self._crypto, self._writer, check, collection
        )
        async for state in repairing.run():
            yield state
            self._unless_stopping()
        self._follower.fetch(collection.record.collection_id)

    def _repack(self) -> Repack:
        return Repack(self.vault, self._storage, self._crypto, self._writer)

    async def _written(self, collection: OpenCollection, written: Written) -> None:
        await self._catalog.put(collection, written.items)
        await self._answer_keys.appended(collection, written)
        size_bytes = sum(len(block) for _, block in written.batches)
        self._follower.written(collection.record.collection_id, size_bytes)

    def _after_write(self, collection: OpenCollection) -> None:
        """Starts work after a write in the background: the evaluator fetches, and a long tail is repacked."""
        if not self._repack_if_due(collection):
            self._follower.fetch(collection.record.collection_id)

    async def repack_what_is_due(self) -> None:
        """Starts repacks in the background of all collections for which one is due."""
        for collection in await self.vault.all():
            if not collection.damage:
                self._repack_if_due(collection)

    def _repack_if_due(self, collection: OpenCollection) -> bool:
        """Starts a repack in the background if one is due and none runs; returns whether it is due."""
        collection_id, regions = collection.record.collection_id, due(collection)
        if regions and self.repacks and collection_id not in self._repacking:
            work = self._repack_in_background(collection, regions)
            self._repacking[collection_id] = asyncio.create_task(work)
        return bool(regions)

    async def _repack_in_background(self, collection: OpenCollection, regions: Sequence[Region]) -> None:
        try:
            async for _ in self._repack().run(collection, regions):
                pass
        except BlindsightError as error:
            logs.get().warning("background_work_failed", what="repack", reason=error.reason)
        finally:
            del self._repacking[collection.record.collection_id]
        self._follower.fetch(collection.record.collection_id)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Refused answers that the owner has not acknowledged, the newest last."""
        return self._alarms.standing

    def acknowledge_alarms(self, up_to: int) -> int:
        """Ends alarms; see `Alarms.acknowledge`."""
        return self._alarms.acknowledge(up_to)

    async def status(self) -> tuple[ServiceStatus, ...]:
        """Returns the state of all three services."""
        peers = await asyncio.gather(
            _status("evaluator", self._evaluator.status()), _status("storage", self._storage.status())
        )
        collections = items = 0
        if peers[1].reachable and not self.lease.fenced:
            records = await self.vault.all()
            collections, items = len(records), sum(one.items for one in records)
        disk = sum(path.stat().st_size for path in self._folder.iterdir())
        memory = await asyncio.to_thread(host.memory_bytes)
        own = ServiceStatus(
            "keyholder",
            "trusted",
            True,
            blindsight.__version__,
            collections,
            items,
            disk,
            memory,
            alarm="; ".join(
                filter(
                    None,
                    [
                        FENCED if self.lease.fenced else "",
                        self._alarms.text(self.vault.unreadable, self.vault.lost),
                        self._machine.processes.weakness,
                        *(warning() for warning in self.warnings),
                    ],
                )
            ),
        )
        if not self._of_tenant:
            return own, *peers
        # How much the others have, and what they do, is not told.
        said = [replace(one, collections=0, items=0, disk_bytes=0, memory_bytes=0) for one in peers]
        return replace(own, memory_bytes=0), *said


async def _status(name: str, asking: Coroutine[Any, Any, PeerStatus]) -> ServiceStatus:
    try:
        said = await asking
    except BlindsightError as error:
        return ServiceStatus(name, "untrusted", reachable=False, error=error.message)
    counts = said.version, said.collections, said.items, said.disk_bytes, said.memory_bytes
    return ServiceStatus(name, "untrusted", True, *counts)
