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

from blindsight.errors import AlreadyExists, Conflict, DataLoss, NotFound
from blindsight.packing.segments import Region
from blindsight.runtime.transfer import digest
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.naming import Naming
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

    async def write_to_new(self, name: str) -> OpenCollection:
        """Stores a batch in a new collection."""
        await create(self, name)
        return await self.write(name, batches=1)


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


# --- settings that change while others read and write -----------------------------------------------------


def renaming(writer: OneWriter) -> Naming:
    return Naming(writer.vault, writer.writer)


async def stored_once(writer: OneWriter, opened: OpenCollection, count: int) -> None:
    """The collection opens for one who knows nothing, with this many items."""
    fresh = Vault(shared_key_set(), writer.storage, EvaluatorClient(writer.tap.address))
    found = await fresh.get_by_id(opened.record.collection_id)
    assert found.slots.items == found.record.items == count


async def test_a_writer_that_knows_the_old_name_goes_on_and_anew_is_another(
    writers: tuple[OneWriter, OneWriter],
) -> None:
    keyholder, worker = writers
    await create(keyholder, "old name")
    opened = await worker.write("old name", batches=1)
    identity = opened.record.collection_id
    await renaming(keyholder).rename("old name", "new name")
    await create(keyholder, "old name")
    assert await worker.vault.get_by_id(identity) is opened
    items = [item(opened, "after the renaming")]
    assert await worker.writer.append_new(opened, np.ones((1, DIMENSION)), items) == {0}
    assert (opened.config.name, opened.slots.items) == ("new name", BATCH_ITEMS + 1)
    assert (await keyholder.vault.get("old name")).slots.items == 0
    await stored_once(keyholder, opened, BATCH_ITEMS + 1)


async def test_a_collection_is_renamed_while_another_process_writes_to_it(
    writers: tuple[OneWriter, OneWriter],
) -> None:
    keyholder, worker = writers
    await create(keyholder, "name 0")
    opened = await keyholder.vault.get("name 0")
    await worker.vault.get("name 0")

    async def rename() -> None:
        for number in range(1, 7):
            await renaming(keyholder).rename(f"name {number - 1}", f"name {number}")

    await asyncio.gather(rename(), worker.write("name 0"))
    await keyholder.vault.refresh(opened)
    assert opened.config.name == "name 6"
    await stored_once(keyholder, opened, BATCHES * BATCH_ITEMS)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_record_from_before_a_change_of_settings_is_no_alarm(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The settings change between the reading of the record and that of the slots."""
    keyholder, worker = writers
    names = [f"changed {times} times, {number}" for number in range(times + 1)]
    await create(keyholder, names[0])
    opened = await worker.write(names[0], batches=1)
    read_slots, renamed = worker.storage.read_slots, []

    async def late(*given: Any) -> Any:
        if len(renamed) < times:
            renamed.append(len(renamed))
            await renaming(keyholder).rename(names[renamed[-1]], names[renamed[-1] + 1])
        return await read_slots(*given)

    monkeypatch.setattr(worker.storage, "read_slots", late)
    await renaming(keyholder).set_alias(f"alias {times}", names[0])
    await worker.vault.refresh(opened)
    assert (len(renamed), opened.config.name) == (times, names[-1])
    assert opened.slots.point == (await keyholder.vault.get(names[-1])).slots.point


async def test_a_storage_whose_record_never_fits_is_refused(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyholder, worker = writers
    await create(keyholder, "fickle")
    opened = await worker.write("fickle", batches=1)
    await keyholder.vault.get("fickle")
    get_collection, asked = worker.storage.get_collection, []

    async def changing(collection_id: bytes) -> Any:
        asked.append(collection_id)
        config = worker.vault._configs.seal(opened.config.to_bytes(), collection_id)  # another each time
        return replace(await get_collection(collection_id), sealed_config=config)

    monkeypatch.setattr(worker.storage, "get_collection", changing)
    with pytest.raises(DataLoss, match="not those that were written"):
        await worker.vault.refresh(opened)
    assert 1 < len(asked) < 20


async def test_the_reading_of_a_record_that_ends_late_does_not_undo_a_change_of_settings(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process signs next is of the newest record."""
    keyholder, _ = writers
    opened = await keyholder.write_to_new("late")
    get_collection, before = keyholder.storage.get_collection, asyncio.Event()
    after = asyncio.Event()

    async def slowly(collection_id: bytes) -> Any:
        record = await get_collection(collection_id)
        before.set()
        await after.wait()
        return record

    with monkeypatch.context() as patched:
        patched.setattr(keyholder.storage, "get_collection", slowly)
        reading = asyncio.create_task(keyholder.vault.refresh(opened))
        await before.wait()
        patched.undo()
        await renaming(keyholder).rename("late", "later")
        after.set()
        await reading
    assert opened.config.name == "later"
    items = [item(opened, "afterwards")]
    assert await keyholder.writer.append_new(opened, np.ones((1, DIMENSION)), items) == {0}
    await stored_once(keyholder, opened, BATCH_ITEMS + 1)


async def test_a_change_whose_answer_was_lost_is_there_or_not(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyholder, _ = writers
    await keyholder.write_to_new("first")
    await keyholder.write_to_new("second")
    naming, replace_config = renaming(keyholder), keyholder.storage.replace_config
    await naming.set_alias("current", "first")
    for done in (False, True):

        async def cut_off(*given: Any, done: bool = done) -> None:
            if done:
                await replace_config(*given)
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            patched.setattr(keyholder.storage, "replace_config", cut_off)
            with pytest.raises(asyncio.CancelledError):
                await naming.set_alias("current", "second")
            with pytest.raises(asyncio.CancelledError):
                await naming.rename("first", "first of all")
        told = await keyholder.vault.get("current")
        assert told.config.name == ("second" if done else "first")
        for name in ("first", "first of all"):
            if (name == "first of all") is done:
                assert (await keyholder.vault.get(name)).config.name == name
            else:
                with pytest.raises(NotFound):
                    await keyholder.vault.get(name)
    await naming.set_alias("current", "first of all")
    assert (await keyholder.vault.get("current")).config.name == "first of all"


async def test_the_name_of_a_collection_whose_settings_do_not_open_is_taken(
    writers: tuple[OneWriter, OneWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyholder, _ = writers
    await create(keyholder, "unreadable")
    await create(keyholder, "readable")
    listed = keyholder.storage.list_collections

    async def damaged() -> Any:
        tag = keyholder.vault._tag("unreadable")
        return [
            replace(one, sealed_config=one.sealed_config[:-1]) if one.name_tag == tag else one
            for one in await listed()
        ]

    monkeypatch.setattr(keyholder.storage, "list_collections", damaged)
    with pytest.raises(AlreadyExists, match="collection 'unreadable' exists"):
        await renaming(keyholder).rename("readable", "unreadable")
    assert (await keyholder.vault.get("readable")).config.name == "readable"
