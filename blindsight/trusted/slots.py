"""Maps of items to the slots of segments: immutable snapshots, of which every change makes a new one."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import ResourceExhausted
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.keyring.parts import PartKey
from blindsight.trusted.keyring.tags import Tags
from blindsight.wire.storage import DIGEST_BYTES, NO_CHAIN, VERSION_BYTES, SlotBatch

# 16 bytes compare and copy as one value; all zeros marks a slot without a live item.
HANDLE_TYPE = np.dtype(("V", HANDLE_BYTES))
Handles = npt.NDArray[np.void]
# Zero for an item without sealed things.
Versions = npt.NDArray[np.uint64]
NO_VERSIONS: Versions = np.zeros(0, np.uint64)
# The bit of a version which says that its item is quarantined: it is there, and no search ranks it.
# The slot map is authenticated, so only its owner can set it.
_QUARANTINED = 1 << 63
# The number of changes of an item's metadata, above 48 random bits to which all else that is sealed is bound.
_REVISION, MOST_REVISIONS = 1 << 48, (1 << 14) - 1
_STATE = struct.Struct("<32sQII")
_SEGMENT = struct.Struct("<II32s")
_LEAF = struct.Struct("<II")
_BATCH = struct.Struct("<I32s")


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a collection's log: a sequence, and the chain of all that was written up to it."""

    sequence: int = 0
    chain: bytes = NO_CHAIN


START = Point()


@dataclass(frozen=True)
class Segment:
    """The slots of one segment.

    Attributes:
        handles: V16 [fill]; zeros where the item is deleted.
        batches: those that were summed in it, in order.
        versions: [fill], with the marks of quarantined items; empty if all are zero.
        tags: tell which items are undescribed; None: none is known to be.
        parts: finds the items of rows that are their second and later vectors; None: every row is an item.
    """

    handles: Handles
    batches: tuple[SlotBatch, ...]
    versions: Versions = field(default_factory=lambda: NO_VERSIONS)
    tags: Tags | None = field(default=None, compare=False, repr=False)
    parts: PartKey | None = field(default=None, compare=False, repr=False)

    @property
    def fill(self) -> int:
        """The number of slots in use, including those of deleted items."""
        return len(self.handles)

    @cached_property
    def live(self) -> npt.NDArray[np.bool_]:
        """The slots that hold a vector of an item, bool [fill]; cached, because every search needs it."""
        live = live_slots(self.handles)
        live.flags.writeable = False
        return live

    @cached_property
    def further(self) -> npt.NDArray[np.intp]:
        """The slots of second and later vectors of items: nothing is sealed for them, as it is for items."""
        if self.parts is None:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.live & (self.unmarked_versions == 0))

    @cached_property
    def items(self) -> npt.NDArray[np.bool_]:
        """The slots of items, each that of its first vector, bool [fill]; cached like `live`."""
        if not len(self.further):
            return self.live
        items = self.live.copy()
        items[self.further] = False
        return items

    @cached_property
    def item_words(self) -> npt.NDArray[np.uint64]:
        """The first words of the handles of the slots' items, [fill]; zero where an item is deleted."""
        if self.parts is None or not len(self.further):
            return self.words
        words = self.words.copy()
        words[self.further] = self.parts.blocks(self.handles[self.further])[:, 0]
        return words

    @cached_property
    def quarantined(self) -> npt.NDArray[np.bool_]:
        """The slots that hold a quarantined item, bool [fill]; cached like `live`."""
        return self.all_versions() >= np.uint64(_QUARANTINED)

    @cached_property
    def undescribed(self) -> npt.NDArray[np.bool_]:
        """The slots of undescribed items, whose rows say nothing, bool [fill]; cached like `live`."""
        if self.tags is None or not len(self.versions):
            return np.zeros(self.fill, bool)
        return self.live & self.tags.found(self.handles, self.versions)

    @cached_property
    def ranked(self) -> npt.NDArray[np.bool_] | None:
        """The slots that a search ranks, bool [fill]; None: all of them.  Cached like `live`."""
        ranked = self.live & ~self.quarantined & ~self.undescribed
        return None if ranked.all() else ranked

    @cached_property
    def by_slot(self) -> dict[int, SlotBatch]:
        """The batches by their first slot; cached."""
        starts = accumulate((batch.count for batch in self.batches), initial=0)
        return dict(zip(starts, self.batches, strict=False))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of its contents; cached, so that a write hashes only the segments that it changes."""
        made = hashlib.sha256(_LEAF.pack(self.fill, len(self.batches)))
        for batch in self.batches:
            made.update(_BATCH.pack(batch.count, batch.sha256))
        made.update(self.handles.view(np.uint8).data)
        if self.versions.any():
            made.update(self.versions.data)
        return made.digest()

    def keyed(self, tags: Tags | None, parts: PartKey | None) -> Segment:
        """Returns the segment with the keys of its collection."""
        if self.tags is tags and self.parts is parts:
            return self
        made = replace(self, tags=tags, parts=parts)
        made.__dict__["digest"] = self.digest  # the same, and costs more than the rest
        return made

    def joined(self, part: Segment) -> Segment:
        """Returns the segment with a batch more."""
        versions = NO_VERSIONS
        if len(self.versions) or len(part.versions):
            versions = np.concatenate([self.all_versions(), part.all_versions()])
        handles = np.concatenate([self.handles, part.handles])
        return Segment(handles, self.batches + part.batches, versions, self.tags, self.parts)

    def version(self, slot: int) -> bytes:
        """Returns the version of the item in a slot, with its mark; empty if it has neither."""
        return self.versions[slot].tobytes() if len(self.versions) and self.versions[slot] else b""

    @cached_property
    def unmarked_versions(self) -> Versions:
        """The versions without marks, [fill]; zero for items without sealed things.  Cached like `live`."""
        return self.all_versions() & np.uint64(_QUARANTINED - 1)

    @property
    def words(self) -> npt.NDArray[np.uint64]:
        """The first words of the handles, [fill], as good as unique; zero where an item is deleted."""
        return _words(self.handles)[:, 0]

    def all_versions(self) -> Versions:
        """Returns the versions also if all are zero: [fill]."""
        return self.versions if len(self.versions) else np.zeros(self.fill, np.uint64)


EMPTY_SEGMENT = Segment(np.zeros(0, HANDLE_TYPE), ())


@dataclass(frozen=True, slots=True)
class SlotMap:
    """A snapshot of a collection's slots at one point of its log.

    Attributes:
        sequence, epoch: the state of storage's log.
        segments: by region and index; retired segments are absent, and their indices are not reused.
        next_index: the index of the next new segment by region.
        items_added: number of items ever stored, from which the next vectors are numbered.
        chain: of the log up to here.
    """

    sequence: int = 0
    epoch: int = 0
    segments: Mapping[SegmentId, Segment] = field(default_factory=dict)
    next_index: Mapping[Region, int] = field(default_factory=dict)
    items_added: int = 0
    chain: bytes = NO_CHAIN

    @property
    def point(self) -> Point:
        """The point of the log."""
        return Point(self.sequence, self.chain)

    def root(self, record: bytes) -> bytes:
        """Returns a SHA-256 of everything but sequence, epoch and chain.

        Args:
            record: SHA-256 of the collection's record.
        """
        upcoming = (self.next_index.get(region, 0) for region in Region)
        made = hashlib.sha256(_STATE.pack(record, self.items_added, *upcoming))
        for key, segment in sorted(self.segments.items()):
            made.update(_SEGMENT.pack(key.region, key.index, segment.digest))
        return made.digest()

    def live_rows(self, region: Region) -> int:
        """Returns the number of a region's vectors that are not deleted."""
        return sum(int(segment.live.sum()) for segment in self._of(region).values())

    @property
    def items(self) -> int:
        """The number of items that are not deleted, in both regions."""
        return sum(int(segment.items.sum()) for segment in self.segments.values())

    @property
    def rows(self) -> int:
        """The number of their vectors."""
        return sum(map(self.live_rows, Region))

    def deleted_items(self) -> int:
        """Returns the number of vectors of deleted items that still take a slot."""
        return sum(int((~segment.live).sum()) for segment in self.segments.values())

    def quarantined_items(self) -> int:
        """Returns the number of items that are quarantined: no search ranks them."""
        return sum(int(segment.quarantined.sum()) for segment in self.segments.values())

    def undescribed_items(self) -> int:
        """Returns the number of undescribed items: no search ranks them either."""
        return sum(int(segment.undescribed.sum()) for segment in self.segments.values())

    def is_undescribed(self, handle: bytes) -> bool:
        """Returns whether an item is there, and undescribed."""
        place = self.find(handle)
        return place is not None and bool(self.segments[place[0]].undescribed[place[1]])

    def keyed(self, tags: Tags | None, parts: PartKey | None) -> SlotMap:
        """Returns the map with the keys of its collection; the same if there are none."""
        if tags is None and parts is None:
            return self
        return replace(self, segments={key: one.keyed(tags, parts) for key, one in self.segments.items()})

    def _of(self, region: Region) -> dict[int, Segment]:
        return {key.index: segment for key, segment in self.segments.items() if key.region is region}

    def find(self, handle: bytes) -> tuple[SegmentId, int] | None:
        """Returns the segment and slot of a live item, or None if it is not in this map."""
        wanted = np.frombuffer(handle, np.uint64)
        for key, segment in self.segments.items():
            words = _words(segment.handles)
            hits = np.flatnonzero((words[:, 0] == wanted[0]) & (words[:, 1] == wanted[1]))
            if len(hits):
                return key, int(hits[0])
        return None

    def versions(self, handles: Sequence[bytes]) -> dict[bytes, bytes]:
        """Returns the versions of those of these items that are live, by handle, with their marks.

        That of an item without version and mark is empty.
        """
        wanted, found = set(handles), {}
        words = _words(handles_from_bytes(b"".join(handles)))[:, 0]
        for segment in self.segments.values():
            # The first words find all that are there, and hardly another.
            for slot in np.flatnonzero(np.isin(_words(segment.handles)[:, 0], words)):
                if (handle := segment.handles[slot].tobytes()) in wanted:
                    found[handle] = segment.version(int(slot))
        return found

    def parts(self, items: Sequence[bytes]) -> list[bytes]:
        """Returns the handles of the second and later vectors of items."""
        words, found = _words(handles_from_bytes(b"".join(items)))[:, 0], list[bytes]()
        for segment in self.segments.values():
            if len(slots := segment.further):
                hits = slots[np.isin(segment.item_words[slots], words)]
                found += [handle.tobytes() for handle in segment.handles[hits]]
        return found

    def ranked_rows(self, item: bytes) -> list[tuple[SegmentId, int]]:
        """Returns the segments and slots of an item's vectors, but for those that no search ranks."""
        places = filter(None, map(self.find, [item, *self.parts([item])]))
        return [
            (key, slot)
            for key, slot in places
            if (ranked := self.segments[key].ranked) is None or ranked[slot]
        ]

    def items_of(self, rows: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Returns which items vectors are of, and which of their vectors they are, by handle.

        Further vectors that are not there are left out.
        """
        if not any(len(segment.further) for segment in self.segments.values()):
            return {row: (row, 0) for row in rows}  # nothing to look for among a million
        found: dict[bytes, tuple[bytes, int]] = {}
        blocks: dict[int, list[tuple[bytes, bytes]]] = {}
        wanted, words = set(rows), _words(handles_from_bytes(b"".join(rows)))[:, 0]
        for segment in self.segments.values():
            further = np.zeros(segment.fill, bool)
            further[segment.further] = True
            for slot in np.flatnonzero(np.isin(segment.words, words)):
                handle = segment.handles[slot].tobytes()
                if handle not in wanted:
                    continue
                if not further[slot] or segment.parts is None:
                    found[handle] = handle, 0
                    continue
                (block,) = segment.parts.blocks(segment.handles[slot : slot + 1])
                blocks.setdefault(int(block[0]), []).append((handle, block.tobytes()))
        for item in self._with_words(list(blocks)):
            for handle, block in blocks[int.from_bytes(item[:8], "little")]:
                found[handle] = item, PartKey.index(block, item)
        return found

    def _with_words(self, words: Sequence[int]) -> Iterator[bytes]:
        """Yields the handles of items that begin with these words."""
        wanted = np.array(words, np.uint64)
        for segment in self.segments.values() if words else ():
            hits = segment.items & np.isin(segment.words, wanted)
            yield from (handle.tobytes() for handle in segment.handles[hits])

    def plan(self, layout: CollectionLayout, count: int, limits: Mapping[Region, int]) -> Iterator[Placement]:
        """Splits `count` new vectors into pieces, each for the free slots of one segment.

        Args:
            layout: the layouts of both regions.
            count: number of new vectors.
            limits: number of appends that a segment may take, by region.

        A piece goes to MAIN if it fills at least half of the slots that are free there.  A smaller one would
        cost a ciphertext per column for a few vectors, for which the TAIL needs only one.
        """
        planned = dict(self._open_segments(layout, limits))
        upcoming = {region: self.next_index.get(region, 0) for region in Region}
        while count:
            region = self._choose(layout, planned, count)
            index, fill = planned.get(region, (upcoming[region], 0))
            if region not in planned:
                upcoming[region] += 1
            capacity = layout.of(region).capacity
            piece = min(count, capacity - fill)
            yield Placement(region, index, fill, piece)
            count -= piece
            planned[region] = (index, fill + piece)
            if fill + piece == capacity:
                del planned[region]

    def _open_segments(
        self, layout: CollectionLayout, limits: Mapping[Region, int]
    ) -> Iterator[tuple[Region, tuple[int, int]]]:
        for region in Region:
            segments = self._of(region)
            if not segments:
                continue
            index = max(segments)
            last = segments[index]
            if last.fill < layout.of(region).capacity and len(last.batches) < limits[region]:
                yield region, (index, last.fill)

    @staticmethod
    def _choose(layout: CollectionLayout, planned: Mapping[Region, tuple[int, int]], count: int) -> Region:
        if layout.main == layout.tail:
            return Region.MAIN
        _, fill = planned.get(Region.MAIN, (0, 0))
        free = layout.main.capacity - fill
        if 2 * min(count, free) >= free:
            return Region.MAIN
        return Region.TAIL

    def appended(self, placement: Placement, part: Segment, sequence: int, epoch: int) -> SlotMap:
        """Returns the map after a batch, given as a segment of its own."""
        key = SegmentId(placement.region, placement.index)
        segment = self.segments.get(key, EMPTY_SEGMENT).joined(part)
        upcoming = max(self.next_index.get(placement.region, 0), placement.index + 1)
        return replace(
            self,
            sequence=sequence,
            epoch=epoch,
            segments={**self.segments, key: segment},
            next_index={**self.next_index, placement.region: upcoming},
        )

    def expected(self, layout: CollectionLayout, count: int, limits: Mapping[Region, int]) -> SlotMap:
        """Returns the map as it will be after `count` more vectors, if nothing else is written before."""
        expected = self
        for placement in self.plan(layout, count, limits):
            batch = SlotBatch(placement.count, bytes(DIGEST_BYTES))
            unknown = Segment(np.zeros(placement.count, HANDLE_TYPE), (batch,))
            expected = expected.appended(placement, unknown, self.sequence, self.epoch)
        return expected

    def without_segments(self, retired: Iterable[SegmentId], sequence: int, epoch: int) -> SlotMap:
        """Returns the map after segments were retired."""
        gone = set(retired)
        kept = {key: segment for key, segment in self.segments.items() if key not in gone}
        return replace(self, sequence=sequence, epoch=epoch, segments=kept)

    def without_items(self, handles: Handles, sequence: int) -> SlotMap:
        """Returns the map after items were deleted."""
        changed = {key: _emptied(segment, handles) for key, segment in self.segments.items()}
        return replace(self, sequence=sequence, segments=changed)

    def with_versions(self, versions: Mapping[bytes, bytes], sequence: int) -> SlotMap:
        """Returns the map after items were given other versions, by handle."""
        changed = {key: _versioned(segment, versions) for key, segment in self.segments.items()}
        return replace(self, sequence=sequence, segments=changed)


def new_version() -> bytes:
    """Returns a random version of revision 0, without a mark."""
    return content_version(os.urandom(VERSION_BYTES))


def revised(version: bytes) -> bytes:
    """Returns the version of an item whose metadata change, with its marks; that of one without any is new.

    Raises:
        ResourceExhausted: if they have changed `MOST_REVISIONS` times.
    """
    if not unmarked(version):
        return (_number(new_version()) | _number(version)).to_bytes(VERSION_BYTES, "little")
    if _number(version) // _REVISION & MOST_REVISIONS == MOST_REVISIONS:
        raise ResourceExhausted(
            f"the metadata of an item changed {MOST_REVISIONS:,} times, want fewer; store it anew"
        )
    return (_number(version) + _REVISION).to_bytes(VERSION_BYTES, "little")


def content_version(version: bytes) -> bytes:
    """Returns the part of a version that stays when metadata change: of revision 0, without a mark."""
    return (_number(version) % _REVISION).to_bytes(VERSION_BYTES, "little")


def marked(version: bytes) -> bytes:
    """Returns the version of an item as one of a quarantined item."""
    return (_number(version) | _QUARANTINED).to_bytes(VERSION_BYTES, "little")


def unmarked(version: bytes) -> bytes:
    """Returns a version without its mark, to which sealed things are bound; empty if nothing is left."""
    number = _number(version) & ~_QUARANTINED
    return number.to_bytes(VERSION_BYTES, "little") if number else b""


def _number(version: bytes) -> int:
    return int.from_bytes(version, "little")


def live_slots(handles: Handles) -> npt.NDArray[np.bool_]:
    """Returns which handles are not zero: [n] V16 -> [n] bool."""
    # Two words per handle: `any(axis=1)` over such a short axis takes a hundred times as long.
    words = _words(handles)
    return np.asarray((words[:, 0] | words[:, 1]) != 0)


def _words(handles: Handles) -> npt.NDArray[np.uint64]:
    return handles.view(np.uint64).reshape(-1, HANDLE_BYTES // 8)


def handles_from_bytes(data: bytes) -> Handles:
    """Reads handles, V16 [n], from n * 16 bytes."""
    return np.frombuffer(data, HANDLE_TYPE)


def _emptied(segment: Segment, handles: Handles) -> Segment:
    hit = np.isin(_sortable(segment.handles), _sortable(handles))
    if not hit.any():
        return segment
    kept = segment.handles.copy()
    kept[hit] = np.zeros(1, HANDLE_TYPE)[0]
    versions = np.where(hit, np.uint64(0), segment.versions) if len(segment.versions) else NO_VERSIONS
    return replace(segment, handles=kept, versions=versions)


def _versioned(segment: Segment, versions: Mapping[bytes, bytes]) -> Segment:
    hit = np.flatnonzero(
        np.isin(_sortable(segment.handles), _sortable(handles_from_bytes(b"".join(versions))))
    )
    if not len(hit):
        return segment
    changed = segment.all_versions().copy()
    given = [versions[segment.handles[slot].tobytes()] for slot in hit]
    changed[hit] = np.frombuffer(b"".join(given), "<u8")
    return replace(segment, versions=changed)


def _sortable(handles: Handles) -> npt.NDArray[Any]:
    # numpy sorts byte strings, but not void; it strips trailing zero bytes, hence the marker.
    marked = np.zeros((len(handles), HANDLE_BYTES + 1), np.uint8)
    marked[:, :HANDLE_BYTES] = handles.view(np.uint8).reshape(-1, HANDLE_BYTES)
    marked[:, HANDLE_BYTES] = 1
    return marked.reshape(-1).view(f"S{HANDLE_BYTES + 1}")
