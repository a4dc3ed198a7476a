"""The writing of batches: placement, encryption, append, and the update of the slot map."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from types import MappingProxyType

import numpy as np

from blindsight.ciphertext.residues import add
from blindsight.errors import AlreadyExists, Conflict
from blindsight.packing.columns import Floats
from blindsight.packing.segments import Placement, SegmentId
from blindsight.parameters import AdditiveSet, of_ring
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff
from blindsight.runtime.transfer import digest
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.tile_checks import PlaneRecord, no_sum
from blindsight.trusted.records import CollectionConfig, ItemMetadata, NewItem
from blindsight.trusted.slots import NO_VERSIONS, Segment, SlotMap, handles_from_bytes, revised, unmarked
from blindsight.trusted.vault import batching
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.room import Room
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.storage import NO_VERSION, ItemUpdate, SlotBatch

# Storage keeps a refused batch at the head of its queue for a moment.  A writer that misses that, too,
# competes with writers that are too slow for the queue, and backs off with jitter: with 16 attempts, none of
# ten workers was seen to starve, even without any queue.
CONFLICT_ATTEMPTS = 16
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.08, 1.0
# Largest change of metadata at once.
UPDATE_ITEMS, UPDATE_BYTES = 1000, 2 << 20
# Vectors of items that are deleted at once.
DELETE_ROWS = 10_000

# Blocks that were encrypted ahead, by the index of their first row and their placement.
Ahead = Mapping[tuple[int, Placement], bytes]
# Segments that are replaced, and their batches; None for one of which a batch was lost.
Retired = Mapping[SegmentId, Sequence[tuple[Placement, bytes]] | None]


# Returns the metadata that items are given, by handle, in the order of the handles.
Change = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, ItemMetadata]]]


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An append that storage has taken.

    Attributes:
        after_sequence: sequence of the log before it.
        sequence, epoch: those after it.
        batches: place and block of each.
        retired: the segments that it replaced, and their batches; None for one of which a batch was lost.
        items: that came with it, new ones and those that moved.
    """

    after_sequence: int
    sequence: int
    epoch: int
    batches: Sequence[tuple[Placement, bytes]]
    retired: Retired
    items: Sequence[NewItem] = ()


class Writer:
    """The only component that sends ciphertexts to storage.  Callers hold the collection's lock.

    Args:
        vault: reads a collection's slots again after a conflict.
        storage: stores the batches.
        crypto: encrypts with the owner's keys.
        observe: called with everything that storage has taken; None: nobody wants to know.
        room: gives room for a write of new items; None: there is as much as they need.
    """

    def __init__(
        self,
        vault: Vault,
        storage: StorageClient,
        crypto: Crypto,
        observe: Callable[[OpenCollection, Written], Awaitable[None]] | None = None,
        room: Callable[[], AbstractAsyncContextManager[Room]] | None = None,
    ) -> None:
        self._vault = vault
        self._storage = storage
        self._crypto = crypto
        self._observe = observe
        self._room = room or (lambda: nullcontext(Room()))

    async def encrypt(self, collection: OpenCollection, slots: SlotMap, rows: Floats) -> Ahead:
        """Encrypts rows ahead of their append; needs no lock.

        Args:
            slots: the slot map expected at the append; blocks placed differently then are encrypted again.
            rows: [count, row dimension].
        """
        placements = list(collection.plan(slots, len(rows)))
        starts = accumulate((placement.count for placement in placements), initial=0)
        blocks = await self._blocks(collection, placements, rows)
        return dict(zip(zip(starts, placements, strict=False), blocks, strict=True))

    async def append(
        self,
        collection: OpenCollection,
        rows: Floats,
        items: Sequence[NewItem],
        ahead: Ahead = MappingProxyType({}),
    ) -> None:
        """Stores new items; all of them are durable when this returns.

        Args:
            rows: [count, row dimension].
            items: of one vector each, one per row.
            ahead: the result of `encrypt` for these rows.

        Raises:
            AlreadyExists: if one of the items exists; items appended before it are stored.
            Conflict: if other writers keep writing.
        """
        done = 0
        while done < len(items):
            done = await self._append_some(collection, _new_batch_id(), rows, items, done, ahead)

    async def replace(self, collection: OpenCollection, rows: Floats, items: Sequence[NewItem]) -> None:
        """Stores items, in the places of those that have their handles: a reader finds one or the other.

        Args:
            rows: [count, row dimension], those of an item after one another.
            items: of one or more rows, each another.

        Raises:
            Conflict: if other writers keep writing; some of the items may be stored.
        """
        done = 0
        while done < len(items):
            batch_id = _new_batch_id()
            await self._wait_for_others(collection, batch_id)
            done = await self._append_some(collection, batch_id, rows, items, done, replaces=True)

    async def append_new(
        self, collection: OpenCollection, rows: Floats, items: Sequence[NewItem]
    ) -> set[int]:
        """Stores the items that do not exist yet; other writers may store the same ones meanwhile.

        Args:
            rows: vectors [count, dimension], not yet transformed by the metric, those of an item after one
                another.
            items: of one or more vectors; of duplicates the first counts.

        Returns:
            the indices of the items that this call stored; they are durable.

        Raises:
            Conflict: if other writers keep writing; some of the items may be stored.
        """
        stored: set[int] = set()
        of_item = batching.rows_of(items)
        handles = [item.handle for item in items]
        different = len(set(handles))
        for _ in range(CONFLICT_ATTEMPTS + len(items)):
            if len(stored) == different:
                return stored
            if not self._fresh(collection, handles):
                await self._vault.refresh(collection)  # others may have deleted some
                if not self._fresh(collection, handles):
                    return stored
            batch_id = _new_batch_id()
            fresh, ahead = await self._turn(collection, batch_id, rows, items)
            if fresh:
                formed = collection.linear().rows(rows[batching.rows_together(of_item, fresh)])
                with suppress(AlreadyExists):  # another writer has stored one meanwhile
                    chosen = [items[index] for index in fresh]
                    done = await self._append_some(collection, batch_id, formed, chosen, ahead=ahead)
                    stored |= set(fresh[:done])
        raise Conflict("others store and delete the same items again and again; try again")

    async def _turn(
        self, collection: OpenCollection, batch_id: bytes, rows: Floats, items: Sequence[NewItem]
    ) -> tuple[list[int], Ahead]:
        """Waits for the batch's turn; returns which items are new, and their blocks, encrypted meanwhile."""
        handles = [item.handle for item in items]
        expected = self._fresh(collection, handles)
        if len(rows) > len(items):  # the order of their rows depends on how many fit into an append
            await self._wait_for_others(collection, batch_id)
            return self._fresh(collection, handles), {}
        formed = collection.linear().rows(rows[expected])
        _, ahead = await asyncio.gather(
            self._wait_for_others(collection, batch_id), self.encrypt(collection, collection.slots, formed)
        )
        fresh = self._fresh(collection, handles)
        return fresh, ahead if fresh == expected else {}

    async def _wait_for_others(self, collection: OpenCollection, batch_id: bytes) -> None:
        """Waits for the batch's turn, if others write to the collection, too.

        A lone writer saves the call: if it was wrong to think so, storage refuses the append as a conflict.
        """
        if collection.contended or collection.uncertain:
            await self._vault.take_turn(collection, batch_id)

    @staticmethod
    def _fresh(collection: OpenCollection, handles: Sequence[bytes]) -> list[int]:
        return batching.first_of_each(handles, collection.slots.versions(handles))

    async def _append_some(
        self,
        collection: OpenCollection,
        batch_id: bytes,
        rows: Floats,
        items: Sequence[NewItem],
        done: int = 0,
        ahead: Ahead = MappingProxyType({}),
        *,
        replaces: bool = False,
    ) -> int:
        """Makes one append of items that are not done yet, each with all rows; returns how many are done.

        Raises:
            ResourceExhausted: if there is no room for the first of them.
        """
        async with self._room() as room:
            return await self._append_within(
                room, collection, batch_id, rows, items, done, ahead, replaces=replaces
            )

    async def _append_within(
        self,
        room: Room,
        collection: OpenCollection,
        batch_id: bytes,
        rows: Floats,
        items: Sequence[NewItem],
        done: int,
        ahead: Ahead,
        *,
        replaces: bool,
    ) -> int:
        of_item = batching.rows_of(items)
        backoff = Backoff(
            first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS, jitter=1
        )
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            slots = collection.slots
            stop = done + room.fitting(slots, items[done:], replaces=replaces)
            if replaces:  # what goes may have many more rows than what comes
                handles = [item.handle for item in items[done:stop]]
                stop = done + batching.at_most(slots, handles, DELETE_ROWS)[1]
            stop, placements = batching.fitting(collection, slots, of_item[:stop], done)
            chosen = batching.with_parts(collection, items[done:stop])
            if len(chosen) == stop - done:
                blocks = await self._blocks(collection, placements, rows, of_item[done].start, ahead)
            else:
                order = batching.firsts_first(of_item[done:stop])
                blocks = await self._blocks(collection, placements, rows[order])
            room.require_bytes(blocks, chosen)
            try:
                await self._commit(collection, batch_id, slots, placements, blocks, chosen, replaces=replaces)
            except Conflict:
                # Another writer came first, or an answer was lost: read again what storage holds.
                if attempt == CONFLICT_ATTEMPTS:
                    raise
                collection.contended = True
                logs.get().info("append_conflict", attempt=attempt)
                if attempt > 1:  # after the first refusal, storage keeps the batch at the head of its queue
                    await asyncio.sleep(backoff.pause())
                await self._vault.refresh(collection)
                continue
            return stop
        raise AssertionError("the last attempt returns or raises")

    async def put(
        self,
        collection: OpenCollection,
        placement: Placement,
        rows: Floats,
        items: Sequence[NewItem],
        retired: Retired,
    ) -> None:
        """Encrypts and appends one batch; retires the segments that it replaces, given with their batches."""
        slots = collection.slots
        placements = [placement] if items else []
        blocks = await self._blocks(collection, placements, rows)
        await self._commit(collection, _new_batch_id(), slots, placements, blocks, items, retired)

    async def _blocks(
        self,
        collection: OpenCollection,
        placements: Sequence[Placement],
        rows: Floats,
        start: int = 0,
        ahead: Ahead = MappingProxyType({}),
    ) -> list[bytes]:
        """Returns the blocks of rows from `start` on; encrypts those that were not encrypted ahead."""

        async def block(start: int, placement: Placement) -> bytes:
            return ahead.get((start, placement)) or await self._encrypt(
                collection, placement, rows[start : start + placement.count]
            )

        starts = accumulate((placement.count for placement in placements), initial=start)
        return await asyncio.gather(*(block(*one) for one in zip(starts, placements, strict=False)))

    async def _encrypt(self, collection: OpenCollection, placement: Placement, rows: Floats) -> bytes:
        parameters = collection.parameters
        if isinstance(parameters, AdditiveSet):
            layout = collection.layout.of(placement.region)
            return await self._crypto.encrypt_columns(parameters, layout, rows, placement.first_slot)
        return await self._crypto.encrypt_batch(collection.column_keys, placement, rows)

    async def _commit(
        self,
        collection: OpenCollection,
        batch_id: bytes,
        before: SlotMap,
        placements: Sequence[Placement],
        blocks: Sequence[bytes],
        items: Sequence[NewItem],
        retired: Retired = MappingProxyType({}),
        *,
        replaces: bool = False,
    ) -> None:
        """Appends blocks to the log in its state `before`, for which they were placed."""
        digests = await asyncio.to_thread(lambda: [digest(block) for block in blocks])
        gone = batching.live_rows(before, [item.handle for item in items]) if replaces else []
        kept = before.without_items(handles_from_bytes(b"".join(gone)), 0) if gone else before
        after = _after(kept, before.sequence, placements, digests, items, retired)
        link = collection.log.link(before.chain, after, collection.record)
        with collection.unless_answered():
            await self._storage.append(
                collection.record.collection_id,
                batch_id,
                link,
                placements,
                blocks,
                digests,
                items,
                list(retired),
                encrypt_planes=partial(self._encrypted_planes, collection),
                replaces=gone,
            )
        batches = list(zip(placements, blocks, strict=True))
        written = Written(before.sequence, after.sequence, after.epoch, batches, retired, items)
        # At once, since one waits for a disk and the other computes.
        adopted = self._vault.adopt(collection, replace(after, chain=link.chain))
        await asyncio.gather(self._observed(collection, written), adopted)

    async def _observed(self, collection: OpenCollection, written: Written) -> None:
        if self._observe is not None:
            await self._observe(collection, written)

    async def configure(
        self, collection: OpenCollection, change: Callable[[CollectionConfig], CollectionConfig]
    ) -> None:
        """Gives a collection other settings, in one write of its log.

        Args:
            change: returns the new settings, of what the settings are then; the same: nothing is written.

        Raises:
            AlreadyExists: if another collection has the name.
            ResourceExhausted: if the settings become too large.
            Conflict: if other writers keep writing.
        """
        for attempt in range(CONFLICT_ATTEMPTS):
            if attempt:
                await self._vault.take_turn(collection, _new_batch_id())
            elif collection.uncertain:
                await self._vault.refresh(collection)
            before, config = collection.slots, change(collection.config)
            if config == collection.config:
                return
            record = self._vault.configured(collection, config)
            after = replace(before, sequence=before.sequence + 1)
            link = collection.log.link(before.chain, after, record)
            try:
                with collection.unless_answered():
                    await self._storage.replace_config(
                        record.collection_id, record.name_tag, record.sealed_config, link
                    )
                    await self._vault.adopt_settings(collection, replace(after, chain=link.chain), record)
            except Conflict:
                continue
            except BaseException:
                self._vault.forget_names()
                raise
            await self._observed(collection, _nothing_written(before, after))
            return
        raise Conflict("the collection is written to again and again; try again")

    async def delete(self, collection: OpenCollection, handles: Sequence[bytes]) -> list[bytes]:
        """Deletes items; returns the handles of those that were there.

        Raises:
            Conflict: if other writers keep writing.
        """
        wanted, deleted, refused = list(dict.fromkeys(handles)), list[bytes](), 0
        await self._vault.refresh(collection)
        while wanted:
            before = collection.slots
            live = before.versions(wanted)
            wanted = [handle for handle in wanted if handle in live]
            gone, done = batching.at_most(before, wanted, DELETE_ROWS)
            if not gone:
                break
            after = before.without_items(handles_from_bytes(b"".join(gone)), before.sequence + 1)
            link = collection.log.link(before.chain, after, collection.record)
            try:
                with collection.unless_answered():
                    await self._storage.delete_items(collection.record.collection_id, gone, link)
                    await self._vault.adopt(collection, replace(after, chain=link.chain))
            except Conflict:
                refused += 1
                if refused == CONFLICT_ATTEMPTS:
                    raise
                await self._vault.refresh(collection)
                continue
            deleted += wanted[:done]
            wanted = wanted[done:]
        return deleted

    async def truncate(self, collection: OpenCollection) -> int:
        """Removes all items in one write, and returns how many there were.

        Raises:
            Conflict: if other writers keep writing.
        """
        for _ in range(CONFLICT_ATTEMPTS):
            await self._vault.refresh(collection)
            before = collection.slots
            if not before.segments:
                return 0
            after = before.without_segments(before.segments, before.sequence + 1, before.epoch + 1)
            link = collection.log.link(before.chain, after, collection.record)
            with suppress(Conflict), collection.unless_answered():
                await self._storage.truncate_collection(collection.record.collection_id, link)
                await self._vault.adopt(collection, replace(after, chain=link.chain))
                return before.items
        raise Conflict("the collection is written to again and again; try again")

    async def update(
        self, collection: OpenCollection, handles: Sequence[bytes], change: Change
    ) -> dict[bytes, ItemMetadata]:
        """Gives items other metadata, in groups; each item has the old ones or the new ones.

        Args:
            handles: of different items; those that are not there are left out.

        Returns:
            the new metadata, by handle.

        Raises:
            Conflict: if other writers keep writing; some of the items may have been changed.
            ResourceExhausted: if the metadata of an item changed too often.
        """
        waiting, done, refused = list(handles), dict[bytes, ItemMetadata](), 0
        while waiting:
            try:
                changed, group = await self._update_some(collection, waiting[:UPDATE_ITEMS], change)
            except Conflict:
                refused += 1
                if refused == CONFLICT_ATTEMPTS:
                    raise
                await self._vault.refresh(collection)
                continue
            waiting = waiting[group:]
            done |= changed
        return done

    async def _update_some(
        self, collection: OpenCollection, handles: Sequence[bytes], change: Change
    ) -> tuple[dict[bytes, ItemMetadata], int]:
        """Changes metadata of as many items as fit into a message; returns these, and how many are done."""
        before = collection.slots
        live = before.versions(handles)
        changed = await change([handle for handle in handles if handle in live])
        versions = {handle: revised(live[handle]) for handle in changed}
        items = await asyncio.to_thread(_sealed, collection, changed, versions)
        sizes = accumulate(len(item.sealed_metadata) for item in items)
        items = items[: max(1, sum(size <= UPDATE_BYTES for size in sizes))]
        if not items:
            return {}, len(handles)
        after = before.with_versions({item.handle: item.version for item in items}, before.sequence + 1)
        link = collection.log.link(before.chain, after, collection.record)
        with collection.unless_answered():
            await self._storage.update_items(collection.record.collection_id, items, link)
            await self._vault.adopt(collection, replace(after, chain=link.chain))
        whole = len(items) == len(changed)
        group = len(handles) if whole else handles.index(items[-1].handle) + 1
        return {item.handle: changed[item.handle] for item in items}, group

    async def _encrypted_planes(
        self, collection: OpenCollection, item: NewItem
    ) -> AsyncGenerator[bytes, None]:
        """Yields the pieces of an item's planes as they are encrypted, then their seal."""
        if item.planes is None:
            return
        parameters, tiles = of_ring(collection.parameters, "planes"), item.planes.tiles
        digests, total = [], no_sum(parameters)
        async with aclosing(self._crypto.encrypt_planes(parameters, tiles, collection.tile_key)) as pieces:
            async for (piece, part), _ in pieces:
                digests.append(await asyncio.to_thread(digest, piece))
                total = add(total, part, parameters)
                yield piece
        record = PlaneRecord(tuple(digests), total).to_bytes()
        yield collection.seal_planes(ItemKey(item.handle, item.version), item.planes.layout, record)


def _nothing_written(before: SlotMap, after: SlotMap) -> Written:
    """Returns a write that brings no batch."""
    return Written(before.sequence, after.sequence, after.epoch, (), {})


def _after(
    before: SlotMap,
    at: int,
    placements: Sequence[Placement],
    digests: Sequence[bytes],
    items: Sequence[NewItem],
    retired: Collection[SegmentId],
) -> SlotMap:
    """Returns the slot map after an append at a sequence, without its chain; what replaces segments moves."""
    sequence, epoch = at + max(len(placements), 1), before.epoch + bool(retired)
    after = before.without_segments(retired, sequence, epoch)
    start = 0
    for placement, sha256 in zip(placements, digests, strict=True):
        stop = start + placement.count
        after = after.appended(placement, _segment(items[start:stop], sha256), sequence, epoch)
        start = stop
    return replace(after, items_added=before.items_added + (0 if retired else len(items)))


def _sealed(
    collection: OpenCollection, changed: Mapping[bytes, ItemMetadata], versions: Mapping[bytes, bytes]
) -> list[ItemUpdate]:
    return [
        ItemUpdate(
            handle,
            collection.seal_metadata(ItemKey(handle, unmarked(versions[handle])), metadata),
            versions[handle],
        )
        for handle, metadata in changed.items()
    ]


def _segment(items: Sequence[NewItem], sha256: bytes) -> Segment:
    """Returns a batch of items as a segment of its own."""
    handles = handles_from_bytes(b"".join(item.handle for item in items))
    versions = NO_VERSIONS
    if any(item.version for item in items):
        versions = np.frombuffer(b"".join(item.version or NO_VERSION for item in items), "<u8")
    return Segment(handles, (SlotBatch(len(items), sha256),), versions)


def _new_batch_id() -> bytes:
    return os.urandom(16)
