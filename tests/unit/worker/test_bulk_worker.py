"""How a worker gathers photos, and how it keeps one that kills processes away from the others."""

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest
from support.keysets import shared_key_set

from blindsight.errors import InvalidArgument, Unavailable
from blindsight.parameters import CKKS_4096
from blindsight.runtime.retry import retry
from blindsight.trusted.ingest.envelope import QueuedPhoto
from blindsight.trusted.ingest.pipeline import PreparedPhoto, is_from
from blindsight.trusted.queue import Message, open_queue
from blindsight.trusted.records import CollectionConfig, ItemMetadata, NewItem
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.items import FoundItem
from blindsight.wire.storage import StoredCollection, StoredItem
from blindsight.wire.workers import ItemState
from services.worker.batching import Batches
from services.worker.gate import Gate
from services.worker.preparing import PreparedMessage


@pytest.fixture
def delivery(tmp_path):
    with open_queue(f"embedded:{tmp_path / 'queue.db'}") as queue:
        queue.publish(Message(b"m" * 16, b"j" * 16, b"BSSB\x01 sealed"))
        yield queue.consumer(1).take(5)


@pytest.fixture(scope="module")
def collection():
    made = shared_key_set()
    record = StoredCollection(
        b"sixteen bytes id", bytes(16), b"", CKKS_4096.name, made.key_id, dimension=8, stride=2048
    )
    return OpenCollection(
        record,
        CollectionConfig(
            "name", "descriptor", 8, Metric.COSINE, 10, 1.0, record.parameter_set, record.stride
        ),
        made,
    )


@pytest.fixture
def opened(delivery, collection):
    photo = QueuedPhoto(b"j" * 16, 3, collection.record.collection_id, "", "name.jpg", b"")
    prepared = PreparedPhoto(NewItem(bytes(16), b"", b"sealed original"), None)
    return PreparedMessage(delivery, photo, collection, prepared)


def test_a_batch_waits_for_others_as_long_as_it_is_told(opened):
    waiting = Batches(linger_seconds=1000, most=100)
    waiting.add(opened)
    assert waiting.due(nothing_comes=False) == []
    assert waiting.due(nothing_comes=True) == [[opened]]
    assert waiting.due(nothing_comes=True) == []
    at_once = Batches(linger_seconds=0, most=100)
    at_once.add(opened)
    assert at_once.due(nothing_comes=False) == [[opened]]


def test_a_batch_that_fills_a_segment_waits_no_longer(opened, collection):
    assert collection.layout.main.capacity == 2
    waiting = Batches(linger_seconds=1000, most=100)
    waiting.add(opened)
    waiting.add(opened)
    assert waiting.due(nothing_comes=False) == [[opened, opened]]


def test_a_batch_of_as_many_as_are_told_waits_no_longer(opened):
    waiting = Batches(linger_seconds=1000, most=1)
    waiting.add(opened)
    assert waiting.due(nothing_comes=False) == [[opened]]


def test_a_batch_waits_less_long_when_nobody_is_on_the_way(opened):
    waiting = Batches(linger_seconds=1000, most=100)
    waiting.add(opened)
    assert waiting.due(nothing_comes=False, quiet_seconds=124) == []
    assert waiting.due(nothing_comes=False, quiet_seconds=126) == [[opened]]


def test_a_batch_of_32_mebibytes_waits_no_longer(opened):
    waiting = Batches(linger_seconds=1000, most=100)
    large = NewItem(bytes(16), b"", bytes(32 << 20))
    waiting.add(replace(opened, prepared=PreparedPhoto(large, None)))
    assert len(waiting.due(nothing_comes=False)) == 1


def test_photos_of_two_collections_are_two_batches(opened):
    waiting = Batches(linger_seconds=0, most=100)
    other = replace(opened, photo=replace(opened.photo, collection_id=b"another sixteen."))
    for one in (opened, other, opened):
        waiting.add(one)
    assert sorted(map(len, waiting.due(nothing_comes=False))) == [1, 2]


def test_what_is_in_storage_was_stored_by_the_message_whose_mark_it_has(opened):
    def stored(origin):
        metadata = ItemMetadata("an id", "name.jpg", origin=origin)
        return FoundItem(ItemKey.new(bytes(16)), StoredItem(bytes(16), b"", 0), metadata)

    assert opened.origin == (b"m" * 16).hex()
    assert is_from(stored(opened.origin), opened.origin)
    assert not is_from(stored(""), opened.origin)
    assert not is_from(stored("6e" * 16), opened.origin)
    assert not is_from(stored(""), "")
    assert not is_from(None, opened.origin)
    assert opened.in_storage(own=True).report.state is ItemState.DONE
    assert opened.in_storage(own=False).report.state is ItemState.DUPLICATE


def test_a_failure_is_reported_with_its_reason_and_stores_nothing(opened):
    failed = opened.with_outcome(ItemState.FAILED, InvalidArgument("why"))
    assert (failed.report.number, failed.report.reason, failed.report.message) == (
        3,
        "INVALID_ARGUMENT",
        "why",
    )
    assert failed.prepared is None


async def test_who_wants_to_be_alone_waits_for_all_others_and_keeps_them_out():
    gate, inside, seen = Gate(3), set(), []

    async def stay(name, place):
        async with place:
            inside.add(name)
            seen.append(set(inside))
            await asyncio.sleep(0.01)
            inside.remove(name)

    guests = [stay(f"guest {number}", gate.shared()) for number in range(7)]
    await asyncio.gather(*guests[:4], stay("a", gate.exclusive()), stay("b", gate.exclusive()), *guests[4:])
    assert all(others == {name} for name in "ab" for others in seen if name in others)
    assert max(map(len, seen)) == 3
    assert len(seen) == 9


async def test_what_passes_is_waited_for_and_what_does_not_is_raised():
    answers = [Unavailable("away"), Unavailable("still"), "back"]

    async def call():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await retry("storage", call) == "back"
    answers.append(InvalidArgument("never"))
    with pytest.raises(InvalidArgument):
        await retry("storage", call)


@pytest.mark.parametrize("service", ["keyholder", "worker"])
def test_what_describes_photos_is_loaded_by_processes_of_a_service_and_not_by_itself(service):
    command = f"import services.{service}.__main__, sys; print('skimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
