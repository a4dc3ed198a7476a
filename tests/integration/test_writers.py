"""Writers of one collection at once, over a real storage service: each has its turn, and uploads once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.services import Process
from support.tap import Tap
from support.vaults import vectors_config

from blindsight.errors import Conflict
from blindsight.packing.segments import Region
from blindsight.runtime.transfer import digest
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer

DIMENSION = 16
BATCHES, BATCH_ITEMS, ORIGINAL_BYTES = 4, 4, 512 << 10
# What a writer sends when nobody else writes; ciphertexts, seals and framing are less than a tenth of it.
PAYLOAD_BYTES = BATCHES * BATCH_ITEMS * ORIGINAL_BYTES


@dataclass
class OneWriter:
    """A writer as a worker has it, with a connection of its own to storage, whose bytes are counted."""

    name: str
    storage: StorageClient
    tap: Tap
    vault: Vault
    writer: Writer

    async def write(self, collection: str, batches: int = BATCHES) -> OpenCollection:
        """Stores batches of new items, one after the other."""
        opened = await self.vault.get(collection)
        for number in range(batches):
            items = [item(opened, f"{self.name}-{number}-{place}") for place in range(BATCH_ITEMS)]
            vectors = np.random.default_rng(number).normal(size=(BATCH_ITEMS, DIMENSION))
            stored = await self.writer.append_new(opened, vectors, items)
            assert stored == set(range(BATCH_ITEMS))
        return opened


def item(collection: OpenCollection, item_id: str) -> NewItem:
    key = ItemKey.new(collection.handle(item_id))
    original = collection.seal_original(key, os.urandom(ORIGINAL_BYTES))
    sealed = collection.seal_metadata(key, ItemMetadata(item_id))
    return NewItem(key.handle, sealed, original, version=key.version)


@pytest.fixture
async def writers(storage_alone: Process, crypto: Crypto) -> AsyncIterator[tuple[OneWriter, OneWriter]]:
    made = []
    for name in ("first", "second"):
        tap = Tap(storage_alone.address)
        storage = StorageClient(tap.address)
        vault = Vault(shared_key_set(), storage, EvaluatorClient(storage_alone.address))
        made.append(OneWriter(name, storage, tap, vault, Writer(vault, storage, crypto)))
    yield made[0], made[1]
    for one in made:
        await one.storage.close()
        one.tap.close()


async def create(writer: OneWriter, name: str) -> None:
    await writer.vault.create(vectors_config(name, DIMENSION))


async def test_two_writers_at_once_store_everything_once_and_send_it_once(
    writers: tuple[OneWriter, OneWriter],
) -> None:
    await create(writers[0], "shared")
    opened, _ = await asyncio.gather(*(one.write("shared") for one in writers))
    record = await writers[0].storage.get_collection(opened.record.collection_id)
    wanted = {
        opened.handle(f"{one.name}-{number}-{place}")
        for one in writers
        for number in range(BATCHES)
        for place in range(BATCH_ITEMS)
    }
    slots, _ = await writers[0].storage.read_slots(opened.record.collection_id, 0)
    handles = [handle.tobytes() for one in slots.segments.values() for handle in one.handles]
    assert sorted(handles) == sorted(wanted)
    assert (record.items, record.items_added, record.sequence) == (len(wanted), len(wanted), 2 * BATCHES)
    for one in writers:
        assert PAYLOAD_BYTES < one.tap.size_bytes < 1.1 * PAYLOAD_BYTES


async def test_a_batch_over_several_segments_is_one_append_and_each_row_is_where_its_handle_is(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, _ = writers
    await create(writer, "several")
    opened = await writer.vault.get("several")
    capacity = opened.layout.main.capacity
    count = 2 * capacity + capacity // 4
    appends = []
    storage_append = writer.storage.append

    async def append(*given: Any, **named: Any) -> None:
        appends.append(given)
        await storage_append(*given, **named)

    monkeypatch.setattr(writer.storage, "append", append)
    vectors = np.random.default_rng(5).normal(size=(count, DIMENSION))
    items = [NewItem(opened.handle(str(number))) for number in range(count)]
    assert await writer.writer.append_new(opened, vectors, items) == set(range(count))
    assert len(appends) == 1
    slots, _ = await writer.storage.read_slots(opened.record.collection_id, 0)
    assert slots.sequence == opened.slots.sequence == len(slots.segments) == 3
    assert {segment.region for segment in slots.segments} == set(Region)
    numbers = {one.handle: number for number, one in enumerate(items)}
    blocks = await writer.storage.read_segments(opened.record.collection_id, opened.slots, slots.segments)
    rows = opened.linear().rows(vectors)
    for key, segment in slots.segments.items():
        assert (opened.slots.segments[key].handles == segment.handles).all()
        decrypted = await writer.writer._crypto.decrypt_segment(opened.column_keys, key.region, blocks[key])
        expected = rows[[numbers.pop(handle.tobytes()) for handle in segment.handles]]
        np.testing.assert_allclose(decrypted[: segment.fill], expected, atol=1e-4)
    assert not numbers


async def test_a_writer_that_knows_an_old_sequence_is_refused_before_it_sends_its_originals(
    writers: tuple[OneWriter, OneWriter],
) -> None:
    await create(writers[0], "moved on")
    early, late = writers
    before = (await late.vault.get("moved on")).slots
    opened = await early.write("moved on", batches=1)
    sent_before = late.tap.size_bytes
    placement = next(opened.plan(before, 1))
    assert placement.region is Region.TAIL
    block = next(iter((await late.writer.encrypt(opened, before, np.ones((1, DIMENSION)))).values()))
    items = [item(opened, "late")]
    after = replace(before, sequence=before.sequence + 1)
    link = opened.log.link(before.chain, after, opened.record)
    with pytest.raises(Conflict):
        await late.storage.append(
            opened.record.collection_id, os.urandom(16), link, [placement], [block], [digest(block)], items
        )
    assert late.tap.size_bytes - sent_before < ORIGINAL_BYTES / 10


async def test_who_asks_while_a_slot_map_is_read_again_waits_for_it_too(
    writers: tuple[OneWriter, OneWriter],
) -> None:
    await create(writers[0], "suspected")
    reader, worker = writers
    opened = await reader.vault.get("suspected")
    written = await worker.write("suspected", batches=1)
    reader.vault.suspect(opened.record.collection_id)

    async def seen() -> int:
        return (await reader.vault.get("suspected")).slots.sequence

    wanted = written.slots.sequence
    assert await asyncio.gather(seen(), seen()) == [wanted, wanted]
    assert not opened.uncertain
