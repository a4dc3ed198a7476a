"""Reads all that storage has of a collection, and says what is not as it was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from blindsight.errors import Conflict, DataLoss, NotFound
from blindsight.packing.segments import Placement, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.trusted import embedders
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.slots import Segment
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.items import FoundItem, Items, keys_of
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.collections import CheckProgress, Damage, DamagedPart
from services.keyholder.catalog.catalog import Catalog

# Items that are looked up at once.
_PAGE = 32
MOST_DAMAGES = 100
MOST_LOST_IDS = 1000
CONFLICTS = 16
# What the damage of a log is told of.


@dataclass(slots=True)
class Findings:
    """What a check has found that a repair can mend.

    Attributes:
        segments: of which a batch is damaged.
        rowless: handles of vectors that no search can rank: of damaged batches, or quarantined before.
        quarantined: those of them that are quarantined.
        nameless: handles of items whose record is damaged.
        named: by handle the ids of those of them whose ids are known all the same.
        records: by handle the metadata of those of these that the catalog has.
        opened: handles of rowless items whose originals open, and say what their rows were.
        log: whether a keyholder that starts now could not open the collection.
    """

    segments: set[SegmentId] = field(default_factory=set)
    rowless: set[bytes] = field(default_factory=set)
    quarantined: set[bytes] = field(default_factory=set)
    nameless: set[bytes] = field(default_factory=set)
    named: dict[bytes, str] = field(default_factory=dict)
    records: dict[bytes, ItemMetadata] = field(default_factory=dict)
    opened: set[bytes] = field(default_factory=set)
    log: bool = False

    @property
    def rebuildable(self) -> set[bytes]:
        """The items that a repair makes anew."""
        return ((self.rowless & self.opened) - self.nameless) | self.named.keys()

    @property
    def losing(self) -> set[bytes]:
        """The items that a repair quarantines."""
        return ((self.rowless - self.opened) | self.nameless) - self.named.keys() - self.quarantined


class Check:
    """A check of one collection.  It changes nothing, and others may write meanwhile.

    Args:
        vault: refreshes the slot map.
        storage: is read.
        items: read metadata.
        catalog: may know what storage has lost.
        collection: the collection.

    Attributes:
        state: how far it is, and the result at the end.
        findings: for a repair.
    """

    def __init__(
        self,
        vault: Vault,
        storage: StorageClient,
        items: Items,
        catalog: Catalog,
        collection: OpenCollection,
    ) -> None:
        self._vault = vault
        self._storage = storage
        self._items = items
        self._catalog = catalog
        self._collection = collection
        self.state = CheckProgress()
        self.findings = Findings()
        self._maimed: set[bytes] = set()  # items of which a vector is lost, or was

    async def run(self) -> AsyncIterator[CheckProgress]:
        """Reads every batch, and every sealed thing of every item; yields progress.

        Raises:
            Conflict: if others write again and again.
            DataLoss: if the collection's record or slots are not what was written.
            Unavailable: if storage does not answer.
        """
        segments = list(self._collection.slots.segments)
        handles = list(_sealed(self._collection))
        self.state = CheckProgress(segments_total=len(segments), items_total=len(handles))
        yield self.state
        try:
            await self._vault.read_again(self._collection)
        except DataLoss as error:
            self.findings.log = True
            self.note("log", "", error.message)
        for key in segments:
            await self._segment(key)
            self.state = replace(self.state, segments_done=self.state.segments_done + 1)
            yield self._counted()
        for start in range(0, len(handles), _PAGE):
            page = handles[start : start + _PAGE]
            await self._page(page)
            self.state = replace(self.state, items_done=self.state.items_done + len(page))
            yield self._counted()

    def _counted(self) -> CheckProgress:
        self.state = replace(
            self.state,
            rebuildable=len(self.findings.rebuildable),
            losing=len(self.findings.losing),
            quarantined=self._collection.slots.quarantined_items(),
        )
        return self.state

    def note(self, part: DamagedPart, name: str, message: str) -> None:
        """Counts a damage, and names it if it is one of the first."""
        state = self.state
        damages = (*state.damages, Damage(part, name, message))[:MOST_DAMAGES]
        self.state = replace(state, damaged=state.damaged + 1, damages=damages)

    def mended(self, part: DamagedPart, name: str = "") -> None:
        """Takes back a damage that was counted; of more than the first hundred nobody knows which it was."""
        damages = tuple(one for one in self.state.damages if (one.part, one.name) != (part, name))
        if len(damages) < len(self.state.damages) or self.state.damaged > len(damages):
            self.state = replace(self.state, damaged=self.state.damaged - 1, damages=damages)

    async def _segment(self, key: SegmentId) -> None:
        for _ in range(CONFLICTS):
            slots = self._collection.slots
            if key not in slots.segments:  # retired since
                return
            try:
                blocks = await self._storage.read_intact(self._collection.record.collection_id, slots, key)
            except Conflict:
                await self._vault.refresh(self._collection)
            else:
                self._judge(key, slots.segments[key], blocks)
                return
        raise Conflict("the collection is written to again and again; try again")

    def _judge(self, key: SegmentId, segment: Segment, blocks: Sequence[tuple[Placement, bytes]]) -> None:
        lost = segment.live & ~covered(segment, blocks)
        rowless = handles_at(segment, lost | segment.quarantined)
        self.findings.rowless.update(rowless)
        self._maimed.update(item for item, _ in self._collection.slots.items_of(rowless).values())
        for item in filter(None, map(self._collection.bare_item, rowless)):
            self._name(item.id)
        self.findings.quarantined.update(handles_at(segment, segment.quarantined))
        damaged = len(segment.batches) - len(blocks)
        if damaged:
            self.findings.segments.add(key)
            self.note(
                "segment",
                str(key),
                f"batches lost or changed: {damaged} of {len(segment.batches)}; "
                f"items whose vectors are lost with them: {lost.sum()}",
            )

    async def _page(self, handles: Sequence[bytes]) -> None:
        found, damaged = await self._items.find_intact(self._collection, handles, len(handles))
        for handle, message in damaged.items():
            self.findings.nameless.add(handle)
            await self._nameless(handle, message)
        for handle, item in found.items():
            try:
                await self._items.steady(self._collection, partial(self._contents, item))
            except DataLoss as error:
                self.note("item", item.metadata.id, error.message)
            if handle in self._maimed - self.findings.opened:
                self._name(item.metadata.id)

    async def _nameless(self, handle: bytes, message: str) -> None:
        """Notes an item whose record is damaged, by the id that the catalog or its original has for it."""
        known = (await self._catalog.known(self._collection, [handle])).get(handle)
        if known is not None:
            self.findings.records[handle] = known
            self.findings.named[handle] = known.id
            self.note("item", known.id, f"{message}; the keyholder still has what was in it")
            return
        reading = partial(original, self._storage, self._collection, handle)
        try:
            data = await self._items.steady(self._collection, reading)
        except (DataLoss, NotFound):
            data = b""
        item_id = await asyncio.to_thread(self._collection.content_id, data)
        if not data or self._collection.handle(item_id) != handle:
            self.note("unnamed item", handle.hex(), message)
            return
        self.findings.named[handle] = item_id
        self.note("item", item_id, f"{message}; its original opens, its file name is lost")

    def _name(self, item_id: str) -> None:
        self.state = replace(self.state, lost_ids=(*self.state.lost_ids, item_id)[:MOST_LOST_IDS])

    async def _contents(self, item: FoundItem) -> None:
        collection, handle = self._collection, item.key.handle
        identity = collection.record.collection_id
        key = keys_of(collection, [handle]).get(handle)
        if key is None or not collection.config.takes_photos:
            return  # deleted since, or a vector
        try:
            sealed = await self._storage.read_original(identity, handle)
            await asyncio.to_thread(collection.open_original, key, sealed)
            if handle in self.findings.rowless and collection.config.describes:
                self.findings.opened.add(handle)
            if item.stored.planes_size_bytes and isinstance(collection.parameters, ParameterSet):
                planes = self._storage.read_planes(identity, handle, collection.parameters)
                async with aclosing(planes) as parts:
                    async for _ in parts:
                        pass
        except NotFound as error:
            raise DataLoss(f"storage has lost a part of it: {error.message}") from error
        if collection.config.embedder == embedders.SIFT:
            keypoints = await self._storage.read_keypoints(identity, [handle])
            if handle not in keypoints:
                raise DataLoss("storage has lost its keypoints")
            collection.open_keypoints(key, keypoints[handle])


async def original(storage: StorageClient, collection: OpenCollection, handle: bytes) -> bytes:
    """Returns the original of a photo whose record may be damaged.

    Raises:
        NotFound: if the item was deleted, or has none.
        DataLoss: if it does not open.
    """
    keys = keys_of(collection, [handle])
    if handle not in keys:
        raise NotFound("the item was deleted meanwhile")
    sealed = await storage.read_original(collection.record.collection_id, handle)
    return await asyncio.to_thread(collection.open_original, keys[handle], sealed)


def covered(segment: Segment, blocks: Sequence[tuple[Placement, bytes]]) -> npt.NDArray[np.bool_]:
    """Returns the slots of a segment whose rows are in these batches, bool [fill]."""
    made = np.zeros(segment.fill, bool)
    for place, _ in blocks:
        made[place.first_slot : place.first_slot + place.count] = True
    return made


def handles_at(segment: Segment, slots: npt.NDArray[np.bool_]) -> list[bytes]:
    """Returns the handles in some slots of a segment."""
    packed = segment.handles[slots].tobytes()
    return [packed[start : start + HANDLE_BYTES] for start in range(0, len(packed), HANDLE_BYTES)]


def _sealed(collection: OpenCollection) -> Iterator[bytes]:
    """Yields the handles of live items that have more than a vector."""
    for segment in collection.slots.segments.values():
        for handle in handles_at(segment, segment.items):
            if collection.bare_item(handle) is None:
                yield handle
