"""The collections of one owner: their settings, slots and sealing keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from blindsight.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, Unavailable
from blindsight.runtime import logs
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.slots import START, Point, SlotMap
from blindsight.trusted.vault import scope
from blindsight.trusted.vault.collection import OpenCollection, require_own
from blindsight.trusted.vault.heads import Head, Heads, State, digest
from blindsight.trusted.vault.name_use import NameUse, name_use
from blindsight.trusted.vault.names import composed, not_an_alias, taken
from blindsight.wire.storage import Link, StoredCollection

# Of a reading, while a collection's settings change.
_ATTEMPTS = 8


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
        naming: held while a name or an alias is given; a collection's own lock is taken before it.
    """

    def __init__(
        self, keys: KeySet, storage: StorageClient, evaluator: EvaluatorClient, heads: Heads | None = None
    ) -> None:
        self._keys = keys
        self._storage = storage
        self._evaluator = evaluator
        self._name_key = keys.subkey("names")
        self._configs = Sealer(keys.subkey("settings"))
        self._open: dict[bytes, OpenCollection] = {}
        self._named: dict[str, bytes] = {}
        self._opening: WeakValueDictionary[str | bytes, asyncio.Lock] = WeakValueDictionary()
        self._heads = heads or Heads()
        self.naming = asyncio.Lock()
        self.unreadable = 0
        self.lost: list[str] = []

    async def create(self, config: CollectionConfig) -> OpenCollection:
        """Creates a collection with these settings; see `settings.new_config`.

        Raises:
            AlreadyExists: if the name is taken, also as an alias.
            KeyFileError: if the key set has no key for the parameter set.
        """
        name, fields = config.name, config.linear().fields
        self._keys.secret_key(config.parameter_set)  # raises if the key file is older than the parameter set
        collection_id = os.urandom(16)
        scope.named(collection_id)
        wanted = StoredCollection(
            collection_id=collection_id,
            name_tag=self._tag(name),
            sealed_config=self._configs.seal(config.to_bytes(), collection_id),
            parameter_set=config.parameter_set,
            key_id=self._keys.key_id,
            dimension=sum(fields),
            stride=config.stride,
            fields=fields if len(fields) > 1 else (),
        )
        async with self.naming:
            await self.require_free(name)
            try:
                record = await self._storage.create_collection(wanted)
            except AlreadyExists:
                raise taken(name) from None
            await self._heads.put(collection_id, Head(name))
            self._open[collection_id] = OpenCollection(record, config, self._keys)
            self._named[name] = collection_id
        return self._open[collection_id]

    async def require_free(self, name: str, but: bytes = b"") -> None:
        """Refuses a name that a collection has, as its own or as an alias; the caller holds `naming`.

        Args:
            but: id of the collection that may have it.

        Raises:
            AlreadyExists: if one has it.
        """
        use = await self.use(name)
        if use.named not in (None, but):
            raise taken(name)
        if use.means not in (None, but):
            raise AlreadyExists(
                f"{name!r} is an alias of collection {use.meant!r}; take another name, or remove it first"
            )

    async def use(self, name: str) -> NameUse:
        """Returns which collections have a name, as their own or as an alias, by what storage has of them."""
        return self._use(name, {record.collection_id: config for record, config in await self._mine()})

    def _use(self, name: str, called: Mapping[bytes, CollectionConfig]) -> NameUse:
        return name_use(name, called, self._heads.alias_number(name))

    async def get(self, name: str) -> OpenCollection:
        """Returns a collection by name or alias, with its slots.

        Raises:
            NotFound: if it does not exist for the caller; the message lists the first few names.
            DataLoss: if storage's record or slots of it are not those that were written, or are not there.
            Fenced: if another keyholder has taken over: what this one knows may be old.
        """
        name = composed(name)
        self._storage.fence.require()
        found = await self._get(name)
        scope.named(found.record.collection_id)
        return found

    async def _get(self, name: str) -> OpenCollection:
        opened = self._known(name)
        if opened is not None:
            await self._settled(opened)
            if self._known(name) is opened:
                return opened
        # One that waits for storage keeps no others waiting.
        async with self._opening.setdefault(name, asyncio.Lock()):
            return self._known(name) or await self._find(name)

    async def ids(self, names: Iterable[str]) -> frozenset[bytes]:
        """Returns the ids of collections of these names or aliases, those that there are and can be read."""
        found = set()
        for name in names:
            with suppress(NotFound, DataLoss, InvalidArgument):
                found.add((await self.get(name)).record.collection_id)
        return frozenset(found)

    def _known(self, name: str) -> OpenCollection | None:
        """Returns an open collection that was asked for by this name before, if it still has it."""
        key = self._named.get(name, b"")
        opened = self._open.get(key) if scope.contains(key) else None
        return opened if opened is not None and self._is_called(opened, name) else None

    def _is_called(self, opened: OpenCollection, name: str) -> bool:
        return name == opened.config.name or name in self.aliases(opened)

    def aliases(self, collection: OpenCollection) -> dict[str, int]:
        """Returns the aliases that mean a collection, and their numbers; one that was moved is none."""
        given = sorted(collection.config.aliases.items())
        return {alias: number for alias, number in given if number >= self._heads.alias_number(alias)}

    async def _settled(self, opened: OpenCollection) -> None:
        """Reads a collection's state again if storage may hold another one."""
        if opened.uncertain:
            async with opened.reading:  # one reads for all that wait
                if opened.uncertain:
                    await self.refresh(opened)

    async def _find(self, name: str) -> OpenCollection:
        """Opens the collection of a name or alias.

        Whatever storage's records say, those that had the name when they were last seen are opened as well:
        so an old record, from before a collection got the name, is noticed.  Those that the caller may not
        name are left alone: what is wrong with one would tell that it is there.
        """
        records = {record.collection_id: record for record in await self._records()}
        called = self._readable(list(records.values()))
        named = [key for key, record in records.items() if record.name_tag == self._tag(name)]
        use = self._use(name, called)
        claims = *named, use.means, self._heads.named(name), self._heads.alias_holder(name)
        claiming = [key for key in dict.fromkeys(claims) if key is not None and scope.contains(key)]
        for key in claiming:
            if key in records:
                await self._opened(records[key])
        for key in claiming:
            opened = self._open.get(key)
            if opened is not None and self._is_called(opened, name):
                self._named[name] = key
                return opened
        if any(key not in records for key in claiming):
            raise DataLoss(f"storage has lost collection {name!r}")
        names = [config.name for key, config in called.items() if scope.contains(key)]
        if name in names:
            raise DataLoss(f"storage has changed the record of collection {name!r}")
        raise _unknown(name, names)

    def forget_names(self) -> None:
        """Forgets who has which name, because storage may have taken a change of one."""
        self._named.clear()

    def _tag(self, name: str) -> bytes:
        return keyed_hash(self._name_key, name.encode(errors="surrogatepass"))

    async def _opened(self, record: StoredCollection) -> OpenCollection:
        """Returns the collection of a record of storage's, whose state is the one that was written."""
        identity = record.collection_id
        async with self._opening.setdefault(identity, asyncio.Lock()):
            known = self._open.get(identity)
            if known is not None:
                if digest(record) != digest(known.record):
                    known.doubts += 1
                await self._settled(known)
                return known
            opened, head = self._read(record), self._heads.get(identity)
            if head is not None:
                if head.state is State.DELETED:
                    raise DataLoss(
                        f"storage has brought back collection {opened.config.name!r}, which was deleted"
                    )
                opened.known = head.point
            await self.refresh(opened)
            self._open[identity] = opened
            return opened

    def _read(self, record: StoredCollection) -> OpenCollection:
        return OpenCollection(record, self._own_config(record), self._keys)

    def _own_config(self, record: StoredCollection) -> CollectionConfig:
        """Returns the settings of a record, which must be those of its name and of its way to encrypt."""
        config = self._config(record)
        if record.name_tag != self._tag(config.name):
            raise DataLoss(f"storage has changed the record of collection {config.name!r}")
        require_own(record, config)
        return config

    async def get_by_id(self, collection_id: bytes) -> OpenCollection:
        """Returns a collection by storage's id, which it keeps under other names.

        Raises:
            NotFound: if it was deleted.
        """
        self._storage.fence.require()
        opened = self._open.get(collection_id)
        if opened is None:
            records = [one for one in await self._records() if one.collection_id == collection_id]
            if not records:
                raise NotFound("the collection is gone: it was deleted")
            return await self._opened(records[0])
        await self._settled(opened)
        return opened

    def name_of(self, collection_id: bytes) -> str:
        """Returns the name that a collection had when it was last seen; empty if it never was."""
        head = self._heads.get(collection_id)
        return head.name if head is not None else ""

    def called(self, collection_id: bytes) -> str:
        """Returns the name of a collection for people, also of one that is gone."""
        head = self._heads.get(collection_id)
        gone = head is None or head.state is not State.LIVE
        return f"deleted {collection_id.hex()[:8]}" if gone or head is None else head.name

    def suspect(self, collection_id: bytes) -> None:
        """Notes that another process wrote: the slot map is read again before it is used."""
        opened = self._open.get(collection_id)
        if opened is not None:
            opened.doubts += 1

    async def refresh(self, collection: OpenCollection) -> None:
        """Reads the record again, and the slot map if the record is not of its sequence.

        Raises:
            NotFound: if storage does not have the collection any more.
            DataLoss: if they are not what was written, or were set back.
        """
        doubts = collection.doubts
        identity = collection.record.collection_id
        with collection.unless_answered():
            try:
                record = await self._storage.get_collection(identity)
            except NotFound:
                if self._open.get(identity) is collection:
                    del self._open[identity]
                raise
            await self._refresh(collection, record)
        collection.settle(doubts)
        await self._reached(collection)

    async def _reached(self, collection: OpenCollection) -> None:
        config = collection.config
        head = Head(config.name, collection.known, aliases=config.aliases)
        await self._heads.reach(collection.record.collection_id, head)

    async def _refresh(self, collection: OpenCollection, record: StoredCollection) -> Sequence[Link]:
        """Takes over storage's state of a collection; returns the links that were read with it."""
        require_own(record, collection.config)
        point = Point(record.sequence, record.chain)
        if point == collection.slots.point and digest(record) == digest(collection.record):
            collection.record = record
            return ()
        slots, links, record = await self._read_slots(collection, record)
        self._take(collection, slots, record)
        return links

    def _take(self, collection: OpenCollection, slots: SlotMap, record: StoredCollection) -> None:
        """Takes over a state of the log, all of it at once, unless it is older than the one that is there."""
        if slots.sequence < collection.slots.sequence:
            return
        if record.sealed_config != collection.record.sealed_config:
            collection.config = self._config(record)
        collection.record = record
        collection.advance(slots)

    async def _read_slots(
        self, collection: OpenCollection, record: StoredCollection
    ) -> tuple[SlotMap, Sequence[Link], StoredCollection]:
        """Reads and checks the slot map; the one of a million items takes 16 MB and 50 ms.

        Args:
            record: as it was read before; it is read again if the settings were changed in between.

        Returns:
            the slot map, the links that came with it, and the record that they are of.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self._own_config(record)
            known = collection.known
            slots, links = await self._storage.read_slots(record.collection_id, known.sequence)
            try:
                made = await asyncio.to_thread(collection.log.follow, known, links, slots, record)
            except DataLoss:
                again = await self._storage.get_collection(record.collection_id)
                if digest(again) == digest(record) or attempt == _ATTEMPTS:
                    raise
                record = again
            else:
                return made, links, record
        raise AssertionError("the last attempt returns or raises")

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
        await self._reached(collection)

    def configured(self, collection: OpenCollection, config: CollectionConfig) -> StoredCollection:
        """Returns the record of a collection as it is with these settings."""
        sealed = self._configs.seal(config.to_bytes(), collection.record.collection_id)
        return replace(collection.record, name_tag=self._tag(config.name), sealed_config=sealed)

    async def adopt_settings(
        self, collection: OpenCollection, slots: SlotMap, record: StoredCollection
    ) -> None:
        """Adopts record and slot map after a change of settings that storage has taken."""
        self._take(collection, slots, record)
        await self._reached(collection)
        for name in (collection.config.name, *self.aliases(collection)):
            self._named[name] = record.collection_id

    async def take_turn(self, collection: OpenCollection, batch_id: bytes) -> None:
        """Waits in storage's queue until a batch may be placed; refreshes the collection if others wrote."""
        sequence = await self._storage.take_turn(collection.record.collection_id, batch_id)
        collection.contended = sequence != collection.slots.sequence
        if collection.uncertain or collection.contended:
            await self.refresh(collection)

    async def names(self) -> list[str]:
        """Returns the names of all collections that the current call may name."""
        return [config.name for record, config in await self._mine() if scope.contains(record.collection_id)]

    async def all(self) -> list[OpenCollection]:
        """Returns those collections, each with fresh counters, or with the damage that was found at it."""
        found = []
        for record, config in await self._mine():
            if not scope.contains(record.collection_id):
                continue
            try:
                require_own(record, config)
                collection = await self._opened(record)
                if digest(record) == digest(collection.record):
                    collection.record = record
                collection.damage = ""
            except NotFound:  # deleted meanwhile
                continue
            except DataLoss as error:
                collection = self._damaged(record, config, error.message)
            found.append(collection)
        return found

    async def used(self) -> tuple[int, int]:
        """Returns how many items, each vector of which counts, and bytes storage has of all collections."""
        records = await self._records()
        return sum(one.items for one in records), sum(one.size_bytes for one in records)

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

    async def delete(self, name: str) -> bytes:
        """Deletes a collection and everything in it, also one that is damaged or lost; returns its id.

        Raises:
            NotFound: if it does not exist.
            InvalidArgument: if the name is an alias.
        """
        name = composed(name)
        known = self._heads.named(name)
        record = await self._doomed(name, known)
        collection_id = record.collection_id if record is not None else known
        if collection_id is None:
            raise _unknown(name, await self.names())
        scope.named(collection_id)
        opened = self._open.get(collection_id)
        async with opened.lock if opened is not None else nullcontext():
            if opened is not None and opened.config.name != name:
                raise NotFound(f"no collection {name!r}: it was renamed")
            head = self._heads.get(collection_id) or Head(name)
            await self._heads.put(collection_id, replace(head, state=State.DELETING))
            if record is not None:
                await self._storage.delete_collection(collection_id)
            for gone in {collection_id, known or collection_id}:  # two, if its id was changed
                await self._heads.put(gone, replace(self._heads.get(gone) or head, state=State.DELETED))
            self._open.pop(collection_id, None)
        await self.drop_gallery(collection_id)
        return collection_id

    async def _doomed(self, name: str, known: bytes | None) -> StoredCollection | None:
        """Returns the record of the collection to delete; None if storage has none.

        Its name's tag or its settings may be all that is damaged; one that was renamed is another one.
        """
        records = {record.collection_id: record for record in await self._records()}
        called = self._readable(list(records.values()))
        if named := [record for record in records.values() if record.name_tag == self._tag(name)]:
            return named[0]
        use = self._use(name, called)
        if use.means is not None:
            raise not_an_alias(name, use.meant)
        record = records.get(known or b"")
        if record is None:
            return None
        config = called.get(record.collection_id)
        return record if config is None or record.name_tag != self._tag(config.name) else None

    async def accept_rollback(self, name: str) -> Rollback:
        """Accepts storage's state of a collection, although it is older than the newest that was seen.

        It must be one that was written at some time; also that of a collection that was deleted.

        Args:
            name: that of the collection in storage's state, or in the newest one that was seen.

        Raises:
            NotFound: if there is no such collection.
            DataLoss: if storage's state was never written, or storage has lost the collection.
        """
        name = composed(name)
        records = {record.collection_id: record for record in await self._records()}
        named = [key for key, record in records.items() if record.name_tag == self._tag(name)]
        identity = next((key for key in (*named, self._heads.named(name)) if key in records), None)
        if identity is None:
            return Rollback(await self.get(name), 0, set_back=False)  # of an alias; else it raises
        self._open.pop(identity, None)
        opened = self._read(records[identity])
        points = {Point(link.sequence, link.chain) for link in await self._refresh(opened, records[identity])}
        now = Head(opened.config.name, opened.slots.point, aliases=opened.config.aliases)
        head = self._heads.get(identity) or now
        set_back = head.state is State.DELETED or head.point not in points | {opened.slots.point, START}
        await self._heads.put(identity, now)
        await self.drop_gallery(identity)
        return Rollback(opened, head.point.sequence, set_back)

    async def drop_gallery(self, collection_id: bytes) -> None:
        """Has the evaluator forget a collection, now or later."""
        try:
            await self._evaluator.drop_collection(collection_id)
        except Unavailable:
            # The evaluator only drops its cache later.
            logs.get().warning("evaluator_cache_not_dropped")

    async def _mine(self) -> list[tuple[StoredCollection, CollectionConfig]]:
        """Returns those of this key set's collections whose settings can be read; notes the others."""
        expected = self._heads.live()
        records = await self._records()
        there = {record.collection_id for record in records}
        live = self._heads.live()  # one that is created or deleted meanwhile is not lost
        self.lost = sorted(name for key, name in expected.items() if key in live and key not in there)
        called = self._readable(records)
        self.unreadable = len(records) - len(called)
        return [
            (record, called[record.collection_id]) for record in records if record.collection_id in called
        ]

    def _readable(self, records: Iterable[StoredCollection]) -> dict[bytes, CollectionConfig]:
        """Returns the settings that can be read, by collection id."""
        found = {}
        for record in records:
            with suppress(DataLoss):
                found[record.collection_id] = self._config(record)
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


def _unknown(name: str, names: Iterable[str]) -> NotFound:
    return NotFound(f"no collection {name!r}; it has {_listing(names)}")


def _listing(names: Iterable[str]) -> str:
    listed = sorted(names)
    if not listed:
        return "none yet"
    shown = ", ".join(repr(name) for name in listed[:5])
    return shown if len(listed) <= 5 else f"{shown} and {len(listed) - 5} more"
