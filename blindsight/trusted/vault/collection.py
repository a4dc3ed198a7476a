"""A collection in use: what it is, its slots, and the keys of its things."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from blindsight.errors import DataLoss
from blindsight.packing.columns import collection_layout
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import Scheme, of_ring
from blindsight.trusted import embedders
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.keyring.handles import HandleKey
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.padding import pad, unpad
from blindsight.trusted.keyring.parts import PartKey
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.keyring.tags import Tags
from blindsight.trusted.records import CollectionConfig, ItemMetadata
from blindsight.trusted.secrets import Secret
from blindsight.trusted.similarity import linear
from blindsight.trusted.slots import Point, SlotMap, content_version, new_version
from blindsight.trusted.vault.heads import LogKey
from blindsight.trusted.vault.settings import summed_columns
from blindsight.wire.storage import StoredCollection


class ItemKey(NamedTuple):
    """What sealed things are bound to: an item, and the time at which it was stored.

    Attributes:
        handle: 16 bytes.
        version: 8 bytes, of which 48 random bits were drawn when it was stored: one that is deleted and
            stored again has others.  Above them is the number of changes of its metadata.  Empty for an item
            without sealed things.
    """

    handle: bytes
    version: bytes

    @classmethod
    def new(cls, handle: bytes, tags: Tags | None = None) -> ItemKey:
        """Returns the key of an item that is to be stored, with its tag if tags are given."""
        return cls(handle, new_version() if tags is None else tags.version(handle))

    @property
    def place(self) -> bytes:
        """What its metadata are bound to."""
        return self.handle + self.version

    @property
    def content_place(self) -> bytes:
        """What everything else is bound to, which stays when the metadata change."""
        return self.handle + content_version(self.version)


class OpenCollection:
    """A collection in use.

    Attributes:
        record: storage's record; its counters are those of the last refresh.
        config: settings that only the owner can read.
        slots: the newest slot map; replaced as a whole, so a search can keep the one it started with.
        lock: held during writes.
        reading: held by who reads the slot map again for others, too.
        log: makes and checks the links of the log.
        tags: of items that no search ranks.
        parts: makes handles of the second and later vectors of items.
        known: the newest point of the log that was seen.
        contended: whether others wrote between this writer's last two writes.
        doubts: how often it was found that storage may hold a write that `slots` lacks.
        content_key: makes the ids of photos that have none of their owner's.
        tile_key: of the check of planes; see `imaging.tile_checks`.
        damage: why the collection cannot be used; empty if it can.

    Raises:
        DataLoss: if storage's record is not the one that was created with this configuration.
    """

    def __init__(self, record: StoredCollection, config: CollectionConfig, keys: KeySet) -> None:
        require_own(record, config)
        self.damage = ""
        self.record = record
        self.config = config
        self.slots = SlotMap()
        self.lock = asyncio.Lock()
        self.reading = asyncio.Lock()
        self.known = Point()
        self.log = LogKey(keys.subkey("log", record.collection_id))
        self.tags = Tags(keys.subkey("tags", record.collection_id))
        self.parts = PartKey(keys.subkey("parts", record.collection_id))
        self.contended = False
        self.doubts = self._settled = 0
        self.parameters = record.parameters
        self.layout = collection_layout(
            record.row_fields, self.parameters.ring_degree, record.stride, self.parameters.most_stride
        )
        self._column_root = keys.subkey("columns", record.collection_id)
        self._sealer = Sealer(keys.subkey("items", record.collection_id))
        id_key = keys.subkey("ids", record.collection_id)
        # Ids of photos are told to their owner, and so outlive the keys.
        self.content_key = Secret(bytes.fromhex(config.content_key)) if config.content_key else id_key
        # One for all collections: pictures of two are subtracted.
        self.tile_key = keys.subkey("tiles")
        self._handles = HandleKey(keys.subkey("short ids", record.collection_id), id_key)

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
            self.slots = slots.keyed(*self._slot_keys)
            self.known = slots.point

    @property
    def items(self) -> int:
        """The number of items that storage counted at the last refresh: further vectors of items are none."""
        return self.record.items - (self.slots.rows - self.slots.items)

    @property
    def next_number(self) -> int:
        """The id of the next vector that has none of its owner's: a number that no item has had."""
        return self.config.numbered_from + self.slots.items_added

    @property
    def _slot_keys(self) -> tuple[Tags | None, PartKey | None]:
        # An owner's own vectors describe what they may, and of those with photos an item may have several.
        tags = self.tags if self.config.describes else None
        return tags, self.parts if self.config.embedder == embedders.EXTERNAL else None

    def handle(self, item_id: str) -> bytes:
        """Returns the handle by which storage identifies an item id."""
        return self._handles.of([item_id])[0]

    def handles(self, ids: Sequence[str]) -> list[bytes]:
        """Returns the handles of many item ids; see `handle`."""
        return self._handles.of(ids)

    def blocks(self, handles: bytes) -> bytes:
        """Decrypts handles of short ids; see `HandleKey.blocks`."""
        return self._handles.blocks(handles)

    def content_id(self, data: bytes) -> str:
        """Returns the id of a photo without one: equal bytes have the same id within one collection."""
        return keyed_hash(self.content_key, b"content:" + data)[:12].hex()

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
        if self.config.takes_photos:
            return None
        item_id = self._handles.short_id(handle)
        return ItemMetadata(item_id) if item_id is not None else None

    def seal_original(self, item: ItemKey, data: bytes) -> bytes:
        """Seals a photo, padded: storage learns its size to an eighth at most."""
        return self._sealer.seal(pad(data), b"original:" + item.content_place)

    def open_original(self, item: ItemKey, sealed: bytes) -> bytes:
        """Opens a photo.

        Raises:
            DataLoss: if it is damaged or another item's.
        """
        return unpad(self._sealer.open(sealed, b"original:" + item.content_place))

    def seal_keypoints(self, item: ItemKey, packed: bytes) -> bytes:
        """Seals a photo's keypoints."""
        return self._sealer.seal(packed, b"keypoints:" + item.content_place)

    def open_keypoints(self, item: ItemKey, sealed: bytes) -> bytes:
        """Opens a photo's keypoints.

        Raises:
            DataLoss: if they are damaged or another item's.
        """
        return self._sealer.open(sealed, b"keypoints:" + item.content_place)

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
        return {
            region: self.parameters.max_batches(summed_columns(self.layout.of(region))) for region in Region
        }

    def plan(self, slots: SlotMap, count: int) -> Iterator[Placement]:
        """Plans the slots of new vectors; see `SlotMap.plan`."""
        return slots.plan(self.layout, count, self.batch_limits)


def require_own(record: StoredCollection, config: CollectionConfig) -> None:
    """Refuses what storage says of how a collection is encrypted, unless the owner's settings say it too."""
    for what, got, wanted in (
        ("parameter set", record.parameter_set, config.parameter_set),
        ("stride", record.stride, config.stride),
        ("rows", record.row_fields, config.linear().fields),
        ("dimension", record.dimension, sum(config.linear().fields)),
    ):
        if got != wanted:
            raise DataLoss(f"storage has {what} {got!r:.40} for collection {config.name!r}, want {wanted}")


def _plane_place(item: ItemKey, layout: PlaneLayout) -> bytes:
    geometry = struct.pack("<4I", layout.width, layout.height, layout.channels, layout.halo)
    return b"planes:" + item.content_place + geometry
