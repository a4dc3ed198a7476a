"""The collections of one owner: their settings, slots and sealing keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from blindsight.errors import AlreadyExists, DataLoss, NotFound, Unavailable
from blindsight.runtime import logs
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.slots import START, Point, SlotMap
from blindsight.trusted.vault.collection import OpenCollection, require_own
from blindsight.trusted.vault.heads import Head, Heads, State, digest
from blindsight.trusted.vault.names import composed
from blindsight.wire.storage import Link, StoredCollection


@dataclass(frozen=True, slots=True)
class Rollback:
    """A collection that may have been set back, with its owner's consent.

    Attributes:
        collection: as it is now.
        before: sequence of the newest state that was seen before.
        set_back: whether what is there does not follow from that state.
    """

    collection: OpenCollection
    before: int
    set_back: bool


class Vault:
    """The collections of one key set: finds, creates and deletes them.

    Args:
        keys: the owner's key set.
        storage, evaluator: the untrusted services.
        heads: the newest points of logs that were seen; None: none was.

    Attributes:
        unreadable: number of collections whose settings storage has changed, when they were last listed.
        lost: names of collections that storage did not have and should, when they were last listed.
    """

    def __init__(
        self, keys: KeySet, storage: StorageClient, evaluator: EvaluatorClient, heads: Heads | None = None
    ) -> None:
        self._keys = keys
        self._storage = storage
        self._evaluator = evaluator
        self._name_key = keys.subkey("names")
        self._configs = Sealer(keys.subkey("settings"))
        self._open: dict[str, OpenCollection] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._heads = heads or Heads()
        self.unreadable = 0
        self.lost: list[str] = []

    async def create(self, config: CollectionConfig) -> OpenCollection:
        """Creates a collection with these settings; see `settings.new_config`.

        Raises:
            AlreadyExists: if the name is taken.
            KeyFileError: if the key set has no key for the parameter set.
        """
        name, fields = config.name, config.linear().fields
        self._keys.secret_key(config.parameter_set)  # raises if the key file is older than the parameter set
        collection_id = os.urandom(16)
        wanted = StoredCollection(
            collection_id=collection_id,
            name_tag=keyed_hash(self._name_key, name.encode()),
            sealed_config=self._configs.seal(config.to_bytes(), collection_id),
            parameter_set=config.parameter_set,
            key_id=self._keys.key_id,
            dimension=sum(fields),
            stride=config.stride,
            fields=fields if len(fields) > 1 else (),
        )
        try:
            record = await self._storage.create_collection(wanted)
        except AlreadyExists:
            raise AlreadyExists(f"collection {name!r} exists; delete it first or take another name") from None
        await self._heads.put(collection_id, Head(name))
        self._open[name] = OpenCollection(record, config, self._keys)
        return self._open[name]

    async def get(self, name: str) -> OpenCollection:
        """Returns a collection by name, with its slots.

        Raises:
            NotFound: if it does not exist; the message lists the first few names.
            DataLoss: if storage's record or slots of it are not those that were written, or are not there.
            Fenced: if another keyholder has taken over: what this one knows may be old.
        """
        self._storage.fence.require()
        name = composed(name)
        if name in self._open:
            opened = self._open[name]
            if opened.uncertain:
                async with opened.reading:  # one reads for all that wait
                    if opened.uncertain:
                        await self.refresh(opened)
            return opened
        # One that waits for storage keeps no others waiting.
        async with self._opening.setdefault(name, asyncio.Lock()):
            if name in self._open:
                return self._open[name]
            record = await self._record(name)
            if record is not None:
                self._open[name] = await self._opened(name, record)
                return self._open[name]
        names = await self.names()
        if name in self.lost:
            raise DataLoss(f"storage has lost collection {name!r}")
        if name in names:
            raise DataLoss(f"storage has changed the record of collection {name!r}")
        raise NotFound(f"no collection {name!r}; it has {_listing(names)}")

    async def _record(self, name: str) -> StoredCollection | None:
        tag = keyed_hash(self._name_key, name.encode(errors="surrogatepass"))
        return next((one for one in await self._records() if one.name_tag == tag), None)

    def _read(self, name: str, record: StoredCollection) -> OpenCollection:
        opened = OpenCollection(record, self._config(record), self._keys)
        if opened.config.name != name:
            raise DataLoss(f"storage has another collection's settings for {name!r}")
        return opened

    async def _opened(self, name: str, record: StoredCollection) -> OpenCollection:
        opened = self._read(name, record)
        head = self._heads.get(record.collection_id)
        if head is not None:
            if head.state is State.DELETED:
                raise DataLoss(f"storage has brought back collection {name!r}, which was deleted")
            opened.known = head.point
        await self.refresh(opened)
        return opened

    async def get_by_id(self, collection_id: bytes) -> OpenCollection:
        """Returns a collection by storage's id, which a later collection of the same name does not have.

        Raises:
            NotFound: if it was deleted.
        """
        for opened in self._open.values():
            if opened.record.collection_id == collection_id:
                return await self.get(opened.config.name)
        for record, config in await self._mine():
            if record.collection_id == collection_id:
                known = self._open.get(config.name)
                if known is not None and known.record.collection_id != collection_id:
                    # Another process deleted the known one and created one of the same name.
                    del self._open[config.name]
                return await self.get(config.name)
        raise NotFound("the collection is gone: it was deleted")

    def suspect(self, collection_id: bytes) -> None:
        """Notes that another process wrote: the slot map is read again before it is used."""
        for opened in self._open.values():
            if opened.record.collection_id == collection_id:
                opened.doubts += 1

    async def refresh(self, collection: OpenCollection) -> None:
        """Reads the record again, and the slot map if the record is not of its sequence.

        Raises:
            NotFound: if storage does not have the collection any more.
            DataLoss: if they are not what was written, or were set back.
        """
        doubts = collection.doubts
        with collection.unless_answered():
            try:
                record = await self._storage.get_collection(collection.record.collection_id)
            except NotFound:
                if self._open.get(collection.config.name) is collection:
                    del self._open[collection.config.name]
                raise
            await self._refresh(collection, record)
        collection.settle(doubts)
        await self._heads.reach(record.collection_id, collection.config.name, collection.known)

    async def _refresh(self, collection: OpenCollection, record: StoredCollection) -> Sequence[Link]:
        """Takes over storage's state of a collection; returns the links that were read with it."""
        require_own(record, collection.config)
        links: Sequence[Link] = ()
        point = Point(record.sequence, record.chain)
        if point != collection.slots.point or digest(record) != digest(collection.record):
            slots, links = await self._read_slots(collection, record)
            collection.advance(slots)
        if record.sealed_config != collection.record.sealed_config:
            collection.config = self._config(record)
        collection.record = record
        return links

    async def _read_slots(
        self, collection: OpenCollection, record: StoredCollection
    ) -> tuple[SlotMap, Sequence[Link]]:
        """Reads and checks the slot map; the one of a million items takes 16 MB and 50 ms."""
        known = collection.known
        slots, links = await self._storage.read_slots(record.collection_id, known.sequence)
        return await asyncio.to_thread(collection.log.follow, known, links, slots, record), links

    async def read_again(self, collection: OpenCollection) -> None:
        """Reads record, slots and links as one does who opens the collection, and changes nothing.

        Raises:
            DataLoss: if the collection could not be opened.
        """
        await self._read_slots(
            collection, await self._storage.get_collection(collection.record.collection_id)
        )

    async def adopt(self, collection: OpenCollection, slots: SlotMap) -> None:
        """Adopts the slot map after a write that storage has taken."""
        collection.advance(slots)
        await self._heads.reach(collection.record.collection_id, collection.config.name, slots.point)

    async def take_turn(self, collection: OpenCollection, batch_id: bytes) -> None:
        """Waits in storage's queue until a batch may be placed; refreshes the collection if others wrote."""
        sequence = await self._storage.take_turn(collection.record.collection_id, batch_id)
        collection.contended = sequence != collection.slots.sequence
        if collection.uncertain or collection.contended:
            await self.refresh(collection)

    async def names(self) -> list[str]:
        """Returns the names of all collections."""
        return [config.name for _, config in await self._mine()]

    async def all(self) -> list[OpenCollection]:
        """Returns all collections, each with fresh counters, or with the damage that was found at it."""
        found = []
        for record, config in await self._mine():
            try:
                collection = await self.get(config.name)
                require_own(record, config)
                collection.record, collection.damage = record, ""
            except DataLoss as error:
                collection = self._damaged(record, config, error.message)
            found.append(collection)
        return found

    def _damaged(self, record: StoredCollection, config: CollectionConfig, damage: str) -> OpenCollection:
        fields = config.linear().fields
        right = replace(
            record,
            parameter_set=config.parameter_set,
            stride=config.stride,
            dimension=sum(fields),
            fields=fields if len(fields) > 1 else (),
        )
        collection = OpenCollection(right, config, self._keys)
        collection.damage = damage
        return collection

    async def set_max_norm(self, collection: OpenCollection, max_norm: float) -> None:
        """Sets the largest norm of vectors in an empty collection."""
        config = replace(collection.config, max_norm=max_norm)
        sealed = self._configs.seal(config.to_bytes(), collection.record.collection_id)
        await self._storage.replace_config(collection.record.collection_id, sealed)
        collection.config, collection.record = config, replace(collection.record, sealed_config=sealed)

    async def delete(self, name: str) -> bytes:
        """Deletes a collection and everything in it, also one that is damaged or lost; returns its id.

        Raises:
            NotFound: if it does not exist.
        """
        name = composed(name)
        record, known = await self._record(name), self._heads.named(name)
        if record is None:  # its name's tag may be all that is damaged
            there = await self._records()
            record = next((one for one in there if one.collection_id == known), None)
        collection_id = record.collection_id if record is not None else known
        if collection_id is None:
            raise NotFound(f"no collection {name!r}; it has {_listing(await self.names())}")
        opened = self._open.get(name)
        async with opened.lock if opened is not None else nullcontext():
            head = self._heads.get(collection_id) or Head(name)
            await self._heads.put(collection_id, replace(head, state=State.DELETING))
            if record is not None:
                await self._storage.delete_collection(collection_id)
            for gone in {collection_id, known or collection_id}:  # two, if its id was changed
                await self._heads.put(gone, replace(self._heads.get(gone) or head, state=State.DELETED))
            self._open.pop(name, None)
        await self._drop_gallery(collection_id)
        return collection_id

    async def accept_rollback(self, name: str) -> Rollback:
        """Accepts storage's state of a collection, although it is older than the newest that was seen.

        It must be one that was written at some time; also that of a collection that was deleted.

        Raises:
            NotFound: if there is no such collection.
            DataLoss: if storage's state was never written, or storage has lost the collection.
        """
        name = composed(name)
        self._open.pop(name, None)
        record = await self._record(name)
        if record is None:
            return Rollback(await self.get(name), 0, set_back=False)  # which raises
        opened = self._read(name, record)
        points = {Point(link.sequence, link.chain) for link in await self._refresh(opened, record)}
        head = self._heads.get(record.collection_id) or Head(name, opened.slots.point)
        set_back = head.state is State.DELETED or head.point not in points | {opened.slots.point, START}
        await self._heads.put(record.collection_id, Head(name, opened.slots.point))
        await self._drop_gallery(record.collection_id)
        return Rollback(opened, head.point.sequence, set_back)

    async def _drop_gallery(self, collection_id: bytes) -> None:
        try:
            await self._evaluator.drop_collection(collection_id)
        except Unavailable:
            # The evaluator only drops its cache later.
            logs.get().warning("evaluator_cache_not_dropped")

    async def _mine(self) -> list[tuple[StoredCollection, CollectionConfig]]:
        """Returns those of this key set's collections whose settings can be read; notes the others."""
        found = []
        expected = self._heads.live()
        records = await self._records()
        there = {record.collection_id for record in records}
        live = self._heads.live()  # one that is created or deleted meanwhile is not lost
        self.lost = sorted(name for key, name in expected.items() if key in live and key not in there)
        for record in records:
            with suppress(DataLoss):
                found.append((record, self._config(record)))
        self.unreadable = len(records) - len(found)
        return found

    async def _records(self) -> list[StoredCollection]:
        """Returns the records of this key set's collections; those of other key sets cannot be opened."""
        self._storage.fence.require()
        return [one for one in await self._storage.list_collections() if one.key_id == self._keys.key_id]

    def _config(self, record: StoredCollection) -> CollectionConfig:
        try:
            plain = self._configs.open(record.sealed_config, record.collection_id)
        except DataLoss:
            raise DataLoss("storage has changed the settings of a collection, or mixed them up") from None
        return CollectionConfig.from_bytes(plain)


def _listing(names: Iterable[str]) -> str:
    listed = sorted(names)
    if not listed:
        return "none yet"
    shown = ", ".join(repr(name) for name in listed[:5])
    return shown if len(listed) <= 5 else f"{shown} and {len(listed) - 5} more"
