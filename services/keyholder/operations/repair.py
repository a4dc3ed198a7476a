"""Mends what a check has found: moves rows, makes some anew from originals, quarantines what is lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import Conflict, DataLoss, InvalidImage, InvalidVector, NotFound
from blindsight.packing.columns import Floats
from blindsight.packing.segments import Placement, SegmentId
from blindsight.runtime.processpool import in_order
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest import arrival
from blindsight.trusted.ingest.pipeline import media_type_of, undescribed
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.slots import Segment, marked, unmarked
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.repack import decrypted
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.collections import CheckProgress
from services.keyholder.operations.check import CONFLICTS, Check, covered, handles_at, original

# A row with no larger value is one of zeros: the noise of a thousand appends is a tenth of it, and the values
# of a row have a norm of about 1.
_NOTHING = 1e-3
_NAMELESS = "its name and what was said of it were lost in storage"


@dataclass(slots=True, eq=False)
class _Read:
    """What storage has of a segment.

    Attributes:
        segment: as the slot map has it.
        blocks: places and blocks of its intact batches.
        rows: [fill, row dimension]; zeros where a batch is lost.
        whole: the slots that have a row, bool [fill].
    """

    segment: Segment
    blocks: list[tuple[Placement, bytes]]
    rows: Floats
    whole: npt.NDArray[np.bool_]

    @property
    def damaged(self) -> bool:
        return len(self.blocks) < len(self.segment.batches)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What was made of an original: a row [row dimension], and metadata of a photo without a name.

    There is no row of a photo that came with its vector.
    """

    row: Floats | None
    metadata: ItemMetadata


class Repair:
    """The repair of one collection, after its check.  A segment is repaired in one append, or is as it was.

    Args:
        vault, storage, items, crypto, writer: the keyholder's components.
        check: has been run.
        collection: the collection.
    """

    def __init__(
        self,
        vault: Vault,
        storage: StorageClient,
        items: Items,
        crypto: Crypto,
        writer: Writer,
        check: Check,
        collection: OpenCollection,
    ) -> None:
        self._vault = vault
        self._storage = storage
        self._items = items
        self._crypto = crypto
        self._writer = writer
        self._check = check
        self._collection = collection
        # Of one segment, by handle; None where there is nothing to make it of.
        self._made: dict[bytes, _Made | None] = {}

    async def run(self) -> AsyncIterator[CheckProgress]:
        """Repairs segment by segment, and yields progress; an interruption loses nothing.

        Raises:
            Conflict: if others write again and again.
            Unavailable: if storage does not answer.
        """
        wanted = self._wanted()
        photos = len(self._unmade)
        yield self._tell(repairs_total=len(wanted) + photos)
        for key in wanted:
            async with aclosing(self._segment(key)) as states:
                async for state in states:
                    yield state
            self._made.clear()
        slots = self._collection.slots
        total = self._check.state.repairs_total
        yield self._tell(repairs_done=total, rebuildable=0, losing=0, quarantined=slots.quarantined_items())

    @property
    def _unmade(self) -> set[bytes]:
        """The items of which anything is made anew from their originals."""
        if self._collection.config.describes:
            return self._check.findings.rowless | self._unrecorded
        return self._unrecorded if self._collection.config.takes_photos else set()

    @property
    def _unrecorded(self) -> set[bytes]:
        """The items whose metadata are made anew from their originals."""
        return self._check.findings.named.keys() - self._check.findings.records.keys()

    def _tell(self, **changes: Any) -> CheckProgress:
        self._check.state = replace(self._check.state, **changes)
        return self._check.state

    def _step(self) -> CheckProgress:
        state = self._check.state
        return self._tell(repairs_done=min(state.repairs_done + 1, state.repairs_total))

    def _wanted(self) -> list[SegmentId]:
        """Returns the segments that are damaged, or have items that are quarantined or to be."""
        found = self._check.findings
        wanted = [
            key
            for key, segment in self._collection.slots.segments.items()
            if key in found.segments
            or segment.quarantined.any()
            or (found.nameless and not found.nameless.isdisjoint(handles_at(segment, segment.live)))
        ]
        if found.log and not wanted:  # any write makes a new link, from which a log can be followed
            segments = self._collection.slots.segments
            wanted = sorted(segments, key=lambda key: segments[key].fill)[:1]
        return wanted

    async def _segment(self, key: SegmentId) -> AsyncGenerator[CheckProgress, None]:
        for _ in range(CONFLICTS):
            read = await self._read(key)
            if read is None:  # another repair, or a repack, was here
                self._check.mended("segment", str(key))
                return
            lacking = self._unrecorded & set(handles_at(read.segment, read.segment.live))
            if self._collection.config.describes:
                lacking |= set(handles_at(read.segment, read.segment.live & ~read.whole))
            async with aclosing(self._make(lacking)) as made:
                async for state in made:
                    yield state
            if await self._written(key, read):
                yield self._step()
                return
        raise Conflict("the collection is written to again and again; try again")

    async def _read(self, key: SegmentId) -> _Read | None:
        """Reads what is left of a segment; None if it was retired meanwhile."""
        collection = self._collection
        for _ in range(CONFLICTS):
            slots = collection.slots
            segment = slots.segments.get(key)
            if segment is None:
                return None
            try:
                blocks = await self._storage.read_intact(collection.record.collection_id, slots, key)
            except Conflict:
                await self._vault.refresh(collection)
                continue
            rows = np.zeros((segment.fill, collection.layout.main.dimension))
            if blocks:
                rows = (await decrypted(self._crypto, collection, key.region, blocks))[: segment.fill]
            nothing = np.abs(rows).max(axis=1) <= _NOTHING
            return _Read(segment, blocks, rows, covered(segment, blocks) & ~(segment.quarantined & nothing))
        raise Conflict("the collection is written to again and again; try again")

    async def _make(self, handles: Iterable[bytes]) -> AsyncGenerator[CheckProgress, None]:
        """Makes rows and records of photos that were not tried yet, from their originals."""
        if not self._collection.config.takes_photos:
            return
        works = (self._anew(handle) for handle in handles if handle not in self._made)
        async with aclosing(in_order(works, 2 * self._crypto.processes)) as rows:
            async for handle, made in rows:
                self._made[handle] = made
                yield self._step()

    async def _anew(self, handle: bytes) -> tuple[bytes, _Made | None]:
        collection, config = self._collection, self._collection.config
        try:
            data = await self._items.steady(collection, partial(original, self._storage, collection, handle))
            row = None
            if config.describes:
                try:
                    made = await self._crypto.embed(config.embedder, config.dimension, config.channels, data)
                except InvalidImage as error:
                    if not collection.slots.is_undescribed(handle):
                        raise
                    made = undescribed(config, "", error)
                row = collection.linear().rows(made.vector[None].astype(np.float64))[0]
                media_type = made.media_type
            else:
                media_type, _ = await media_type_of(self._crypto, "", data)
            metadata = ItemMetadata(
                collection.content_id(data),
                media_type=media_type,
                added_microseconds=arrival.now(),
                size_bytes=len(data),
                remark=_NAMELESS,
            )
            return handle, _Made(row, metadata)
        except (InvalidImage, InvalidVector) as error:
            self._check.note("unnamed item", handle.hex(), f"its original: {error.message}")
        except (DataLoss, NotFound):
            pass  # the check has told it
        return handle, None

    async def _written(self, key: SegmentId, read: _Read) -> bool:
        """Writes a segment anew if anything is to be mended; returns False if others wrote to it."""
        collection = self._collection
        async with collection.lock:
            await self._vault.refresh(collection)
            now = collection.slots.segments.get(key)
            if now is None or now.digest != read.segment.digest:
                return False
            rows, items, rebuilt = self._items_of(read)
            versions = [now.version(int(slot)) for slot in np.flatnonzero(now.live)]
            same = [(item.version, item.sealed_metadata) for item in items] == [
                (one, b"") for one in versions
            ]
            if same and not read.damaged and not self._check.findings.log:
                return True
            index = collection.slots.next_index.get(key.region, 0)
            place = Placement(key.region, index, 0, len(items))
            try:
                await self._writer.put(
                    collection, place, rows, items, {key: None if read.damaged else read.blocks}
                )
            except Conflict:
                return False
        found = self._check.findings
        if key in found.segments:
            self._check.mended("segment", str(key))
        if found.log:
            found.log = False
            self._check.mended("log")
        for item in items:
            if item.sealed_metadata:
                self._check.mended("item", found.named[item.handle])
        quarantined = collection.slots.quarantined_items()
        self._tell(rebuilt=self._check.state.rebuilt + rebuilt, quarantined=quarantined)
        return True

    def _items_of(self, read: _Read) -> tuple[Floats, list[NewItem], int]:
        """Returns the rows and items of the new segment, and how many of them can be found again."""
        segment, found = read.segment, self._check.findings
        slots = np.flatnonzero(segment.live)
        rows, items, rebuilt = read.rows[slots], [], 0
        lost = ~covered(segment, read.blocks) | segment.quarantined
        for position, slot in enumerate(slots):
            handle, version = segment.handles[slot].tobytes(), segment.version(int(slot))
            made = self._made.get(handle)
            row = made.row if made is not None else None
            if not read.whole[slot] and row is not None:
                rows[position] = row
            sealed, record = b"", found.records.get(handle) or (made.metadata if made is not None else None)
            if record is not None and handle in found.named:
                sealed = self._collection.seal_metadata(ItemKey(handle, unmarked(version)), record)
            named = bool(sealed) or handle not in found.nameless
            sound = named and (bool(read.whole[slot]) or row is not None)
            version = unmarked(version) if sound else marked(version)
            items.append(NewItem(handle, sealed, version=version, metadata=record if sealed else None))
            rebuilt += sound and bool(lost[slot] or sealed)
        return rows, items, rebuilt
