"""The collections of one owner: their settings, slots and sealing keys."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from blindsight.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, Unavailable
from blindsight.packing.columns import CollectionLayout, Layout, collection_layout, plan_stride
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import Parameters, Scheme, by_name, default_for, of_ring
from blindsight.runtime import logs
from blindsight.trusted import embedders
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.embedders.pixels import CHANNELS, Pixels
from blindsight.trusted.keyring.handles import HandleKey
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.padding import pad, unpad
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.records import CollectionConfig, ItemMetadata
from blindsight.trusted.similarity import linear
from blindsight.trusted.slots import START, Point, SlotMap, new_version
from blindsight.trusted.vault.heads import Head, Heads, LogKey, State, digest
from blindsight.wire.storage import Link, StoredCollection

DEFAULT_EXPECTED_SIZE = 10_000
MAX_NAME_CHARACTERS = 128
MAX_DIMENSION = 4096
# Norms of single-precision vectors lie between these, and their squares are finite in double precision.
SHORTEST_NORM, LONGEST_NORM = 1e-45, 1e41


class ItemKey(NamedTuple):
    """What sealed things are bound to: an item, and the time at which it was stored.

    Attributes:
        handle: 16 bytes.
        version: 63 random bits in 8 bytes, drawn when it was stored: one that is deleted and stored again has
            others; empty for an item without sealed things.
    """

    handle: bytes
    version: bytes

    @classmethod
    def new(cls, handle: bytes) -> ItemKey:
        """Returns the key of an item that is to be stored."""
        return cls(handle, new_version())

    @property
    def place(self) -> bytes:
        """Both in one."""
        return self.handle + self.version


class OpenCollection:
    """A collection in use.

    Attributes:
        record: storage's record; its counters are those of the last refresh.
        config: settings that only the owner can read.
        slots: the newest slot map; replaced as a whole, so a search can keep the one it started with.
        lock: held during writes.
        log: makes and checks the links of the log.
        known: the newest point of the log that was seen.
        doubts: how often it was found that storage may hold a write that `slots` lacks.
        tile_key: of the check of planes; see `imaging.tile_checks`.
        damage: why the collection cannot be used; empty if it can.

    Raises:
        DataLoss: if storage's record is not the one that was created with this configuration.
    """

    def __init__(self, record: StoredCollection, config: CollectionConfig, keys: KeySet) -> None:
        _require_own(record, config)
        self.damage = ""
        self.record = record
        self.config = config
        self.slots = SlotMap()
        self.lock = asyncio.Lock()
        self.known = Point()
        self.log = LogKey(keys.subkey("log", record.collection_id))
        self.doubts = self._settled = 0
        self.parameters = record.parameters
        self.layout = collection_layout(
            record.row_fields, self.parameters.ring_degree, record.stride, self.parameters.most_stride
        )
        self._column_root = keys.subkey("columns", record.collection_id)
        self._sealer = Sealer(keys.subkey("items", record.collection_id))
        self._id_key = keys.subkey("ids", record.collection_id)
        # One for all collections: pictures of two are subtracted.
        self.tile_key = keys.subkey("tiles")
        self._handles = HandleKey(keys.subkey("short ids", record.collection_id), self._id_key)

    @contextmanager
    def unless_answered(self) -> Iterator[None]:
        """Marks the collection as uncertain if the block fails, because storage's state is then unknown."""
        try:
            yield
        except BaseException:
            self.doubts += 1
            raise

    @property
    def uncertain(self) -> bool:
        """Whether storage may hold a write that `slots` lacks; also while it is read again."""
        return self._settled < self.doubts

    def settle(self, doubts: int) -> None:
        """Notes that `slots` has what these first doubts were about."""
        self._settled = max(self._settled, doubts)

    def advance(self, slots: SlotMap) -> None:
        """Adopts a slot map unless it is older than the current one: an earlier read may end later."""
        if slots.sequence >= self.slots.sequence:
            self.slots, self.known = slots, slots.point

    def handle(self, item_id: str) -> bytes:
        """Returns the handle by which storage identifies an item id."""
        return self._handles.of([item_id])[0]

    def handles(self, ids: Sequence[str]) -> list[bytes]:
        """Returns the handles of many item ids; see `handle`."""
        return self._handles.of(ids)

    def look_up_seed(self, handles: Sequence[bytes]) -> bytes:
        """Returns a secret seed, the same for the same items, of what is asked for beside them."""
        return keyed_hash(self._id_key, b"beside:" + b"".join(sorted(handles)))

    def content_id(self, data: bytes) -> str:
        """Returns the id of a photo without one: equal bytes have the same id within one collection."""
        return keyed_hash(self._id_key, b"content:" + data)[:12].hex()

    def seal_metadata(self, item: ItemKey, metadata: ItemMetadata) -> bytes:
        """Seals an item's id and name."""
        return self._sealer.seal(metadata.to_bytes(), b"metadata:" + item.place)

    def open_metadata(self, item: ItemKey, sealed: bytes) -> ItemMetadata:
        """Opens an item's id and name; the id of an item that has no more is in its handle.

        Raises:
            DataLoss: if they are damaged or another item's.
        """
        if not sealed:
            item_id = self._handles.short_id(item.handle)
            if item_id is None:
                raise DataLoss("storage sent an item without the metadata that it was stored with")
            return ItemMetadata(item_id)
        return ItemMetadata.from_bytes(self._sealer.open(sealed, b"metadata:" + item.place))

    def bare_item(self, handle: bytes) -> ItemMetadata | None:
        """Returns an item that is nothing but a vector and an id that its handle says; None for any other."""
        if self.config.embedder != embedders.NONE:
            return None
        item_id = self._handles.short_id(handle)
        return ItemMetadata(item_id) if item_id is not None else None

    def seal_original(self, item: ItemKey, data: bytes) -> bytes:
        """Seals a photo, padded: storage learns its size to an eighth at most."""
        return self._sealer.seal(pad(data), b"original:" + item.place)

    def open_original(self, item: ItemKey, sealed: bytes) -> bytes:
        """Opens a photo.

        Raises:
            DataLoss: if it is damaged or another item's.
        """
        return unpad(self._sealer.open(sealed, b"original:" + item.place))

    def seal_keypoints(self, item: ItemKey, packed: bytes) -> bytes:
        """Seals a photo's keypoints."""
        return self._sealer.seal(packed, b"keypoints:" + item.place)

    def open_keypoints(self, item: ItemKey, sealed: bytes) -> bytes:
        """Opens a photo's keypoints.

        Raises:
            DataLoss: if they are damaged or another item's.
        """
        return self._sealer.open(sealed, b"keypoints:" + item.place)

    def seal_planes(self, item: ItemKey, layout: PlaneLayout, record: bytes) -> bytes:
        """Seals what authenticates a photo's planes, bound to the geometry and to the very item."""
        return self._sealer.seal(record, _plane_place(item, layout))

    def open_planes(self, item: ItemKey, layout: PlaneLayout, sealed: bytes) -> bytes:
        """Opens what authenticates a photo's planes.

        Raises:
            DataLoss: if it is damaged, or of other planes, of another geometry or of another item.
        """
        return self._sealer.open(sealed, _plane_place(item, layout))

    @property
    def column_keys(self) -> CollectionKeys:
        """The keys of the columns; of a ring scheme's collection only.

        Raises:
            InvalidArgument: if the scheme is an additive one.
        """
        parameters = of_ring(self.parameters, "columns")
        return CollectionKeys(self._column_root, parameters, self.layout, self.record.key_id)

    def linear(self) -> linear.Linear:
        """Returns the metric as a linear form."""
        return self.config.linear()

    @property
    def score_error_bound(self) -> float:
        """A bound on the error of a score of unit scale that holds for every segment."""
        capacity = self.layout.main.capacity
        batches = min(capacity, max(self.batch_limits.values()))
        made = self.linear()
        if made.whole and self.parameters.scheme is not Scheme.CKKS:
            return 0.0
        return made.amplification * self.parameters.score_error_bound(capacity, made.largest_row, batches)

    @property
    def precision(self) -> str:
        """A human-readable text on how values are rounded."""
        if self.linear().whole and self.parameters.scheme is not Scheme.CKKS:
            return f"{self.parameters.integers}, nothing is rounded"
        return self.parameters.precision

    @property
    def batch_limits(self) -> dict[Region, int]:
        """The number of appends that a segment may take, by region: their noise adds up."""
        return {region: self.parameters.max_batches(_summed(self.layout.of(region))) for region in Region}

    def plan(self, slots: SlotMap, count: int) -> Iterator[Placement]:
        """Plans the slots of new vectors; see `SlotMap.plan`."""
        return slots.plan(self.layout, count, self.batch_limits)


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

    async def create(
        self,
        name: str,
        *,
        scheme: str,
        parameter_set: str,
        embedder: str,
        dimension: int,
        metric: linear.Metric | None,
        expected_size: int,
        max_norm: float,
        channels: str = "",
        size: int = 0,
    ) -> OpenCollection:
        """Creates a collection.

        Args:
            channels: colour channels of raw pixels; "" for any other vectors.
            size: side of an image of raw pixels; 0 for the embedder's default.

        Raises:
            AlreadyExists: if the name is taken.
            InvalidArgument: if the settings do not fit together.
            KeyFileError: if the key set has no key for the parameter set.
        """
        _check_name(name)
        parameters = parameters_for(scheme, parameter_set)
        self._keys.secret_key(parameters.name)  # raises if the key file is older than the parameter set
        metric = _metric(metric, channels)
        if embedder == embedders.SIFT:
            _require_recognisable(parameters, metric)
        config = CollectionConfig(
            name=name,
            embedder=embedder,
            dimension=_dimension(embedder, _of_size(size, dimension, embedder, channels), channels),
            metric=metric,
            expected_size=expected_size or DEFAULT_EXPECTED_SIZE,
            max_norm=_max_norm(max_norm, embedder, metric),
            parameter_set=parameters.name,
            stride=0,
            channels=channels,
        )
        fields = config.linear().fields
        degree, most_stride = parameters.ring_degree, parameters.most_stride
        stride = plan_stride(fields, degree, config.expected_size, most_stride, parameters.residue_bytes)
        config = replace(config, stride=stride)
        _require_room(parameters, collection_layout(fields, degree, stride, most_stride))
        collection_id = os.urandom(16)
        wanted = StoredCollection(
            collection_id=collection_id,
            name_tag=keyed_hash(self._name_key, name.encode()),
            sealed_config=self._configs.seal(config.to_bytes(), collection_id),
            parameter_set=parameters.name,
            key_id=self._keys.key_id,
            dimension=sum(fields),
            stride=stride,
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
        if name in self._open:
            opened = self._open[name]
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
        _require_own(record, collection.config)
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

    async def adopt(self, collection: OpenCollection, slots: SlotMap) -> None:
        """Adopts the slot map after a write that storage has taken."""
        collection.advance(slots)
        await self._heads.reach(collection.record.collection_id, collection.config.name, slots.point)

    async def take_turn(self, collection: OpenCollection, batch_id: bytes) -> None:
        """Waits in storage's queue until a batch may be placed; refreshes the collection if others wrote."""
        sequence = await self._storage.take_turn(collection.record.collection_id, batch_id)
        if collection.uncertain or sequence != collection.slots.sequence:
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
                _require_own(record, config)
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


def parameters_for(scheme: str, name: str) -> Parameters:
    """Returns the named parameter set, or the scheme's default.

    Raises:
        InvalidArgument: if the scheme or set is unknown, or the set is another scheme's.
    """
    if not name:
        return default_for(scheme)
    parameters = by_name(name)
    if default_for(scheme).scheme is not parameters.scheme:
        raise InvalidArgument(f"parameter set {name} is of {parameters.scheme.name.lower()}, want {scheme}")
    return parameters


def _require_own(record: StoredCollection, config: CollectionConfig) -> None:
    """Refuses what storage says of how a collection is encrypted, unless the owner's settings say it too."""
    for what, got, wanted in (
        ("parameter set", record.parameter_set, config.parameter_set),
        ("stride", record.stride, config.stride),
        ("rows", record.row_fields, config.linear().fields),
        ("dimension", record.dimension, sum(config.linear().fields)),
    ):
        if got != wanted:
            raise DataLoss(f"storage has {what} {got!r:.40} for collection {config.name!r}, want {wanted}")


def _require_room(parameters: Parameters, layout: CollectionLayout) -> None:
    """Refuses a collection whose scores would be lost in noise or overflow, according to the bound."""
    columns = max(_summed(layout.main), _summed(layout.tail))
    if parameters.max_batches(columns) < 1:
        raise InvalidArgument(
            f"{parameters.name} has no room for {parameters.hindrance} of {columns} columns; "
            "take a smaller dimension or another parameter set"
        )


def _plane_place(item: ItemKey, layout: PlaneLayout) -> bytes:
    geometry = struct.pack("<4I", layout.width, layout.height, layout.channels, layout.halo)
    return b"planes:" + item.place + geometry


def _summed(layout: Layout) -> int:
    """Returns the number of columns whose products, and their noise, add up to one score."""
    return max(last - first for first, last in layout.field_columns)


def _metric(metric: linear.Metric | None, channels: str) -> linear.Metric:
    """Returns the requested metric, or the default one for these channels."""
    suits = linear.Metric.SQUARED_COSINE if channels else linear.Metric.COSINE
    if metric is None:
        return suits
    if channels and metric is not suits:
        raise InvalidArgument(f"metric {metric} of colour channels, want {suits}")
    if metric is linear.Metric.SQUARED_COSINE and not channels:
        raise InvalidArgument(f"metric {metric} is of colour channels, want channels grey or rgb with it")
    return metric


def _require_recognisable(parameters: Parameters, metric: linear.Metric) -> None:
    """Refuses settings under which photos cannot be found by their keypoints."""
    of_ring(parameters, "embedder sift")
    if metric is not linear.Metric.COSINE:
        raise InvalidArgument(f"metric {metric} with embedder sift, want cosine")


def _of_size(size: int, dimension: int, embedder: str, channels: str) -> int:
    """Returns the dimension of images of `size` pixels a side, or `dimension` if the size is 0."""
    if not size:
        return dimension
    if embedder != Pixels.name:
        raise InvalidArgument(f"size {size} with embedder {embedder}, want embedder {Pixels.name} for it")
    of_size = size * size * CHANNELS.get(channels, 1)
    if dimension not in (0, of_size):
        raise InvalidArgument(f"dimension {dimension} with size {size}, want {of_size} or none")
    return of_size


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable() or name.startswith("-"):
        raise InvalidArgument(
            f"collection name of {len(name)} characters, want 1 to {MAX_NAME_CHARACTERS} printable ones "
            "that do not start with a dash"
        )


def _dimension(embedder: str, dimension: int, channels: str) -> int:
    if embedder != embedders.NONE or channels:
        return embedders.create(embedder, dimension or None, channels).dimension
    if not 1 <= dimension <= MAX_DIMENSION:
        raise InvalidArgument(f"dimension {dimension}, want 1 to {MAX_DIMENSION} for vectors (--dimension)")
    return dimension


def _max_norm(max_norm: float, embedder: str, metric: linear.Metric) -> float:
    if max_norm != 0 and not SHORTEST_NORM <= max_norm <= LONGEST_NORM:
        raise InvalidArgument(f"largest norm {max_norm:g}, want {SHORTEST_NORM:g} to {LONGEST_NORM:g}")
    if metric is linear.Metric.COSINE or embedder != embedders.NONE:
        return 1.0  # embedders give unit vectors
    return max_norm


def _listing(names: Iterable[str]) -> str:
    listed = sorted(names)
    if not listed:
        return "none yet"
    shown = ", ".join(repr(name) for name in listed[:5])
    return shown if len(listed) <= 5 else f"{shown} and {len(listed) - 5} more"
