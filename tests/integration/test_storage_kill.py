"""kill -9 between and during appends: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.services import Process, wait_until
from support.storage import (
    LARGE_PLANES,
    MAIN_0,
    Batches,
    Client,
    collection,
    handles,
    identifier,
    items,
    link_to,
    original_of,
    pieces_of,
    random_block,
    refusal,
    requests,
    sha256,
    with_planes,
)

from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.wire.storage import AppendHeader, BatchHeader
from services.storage.records import Append, Geometry

ROUNDS = 20
ITEMS = 100
WITH_ORIGINAL = 5
ORIGINAL_BYTES = 30_000
CHUNK = 100_000
# A real block: 128 columns, 4.2 MB.
COLLECTION = collection(dimension=128, stride=1)


BASE = random_block(Geometry.of(COLLECTION, Region.MAIN).columns)
PER_SEGMENT = 4096 // ITEMS


def append_of(number: int) -> Append:
    """The batch of a number, the same each time: a test that kept them all would need their memory."""
    block = BASE[:-16] + identifier("block", number)
    start = ITEMS * number
    made = items(WITH_ORIGINAL, start, metadata_bytes=60, original_bytes=ORIGINAL_BYTES)
    made += items(ITEMS - WITH_ORIGINAL, start + WITH_ORIGINAL, metadata_bytes=60)
    originals = [original_of(start + place, ORIGINAL_BYTES) for place in range(WITH_ORIGINAL)]
    segment, first_slot = SegmentId(Region.MAIN, number // PER_SEGMENT), number % PER_SEGMENT * ITEMS
    header = AppendHeader(
        collection_id=COLLECTION.collection_id,
        batch_id=identifier("batch", number),
        expected_sequence=number,
        batches=(BatchHeader(number + 1, segment, first_slot, ITEMS, len(block), sha256(block)),),
        link=link_to(number + 1),
    )
    return Append(header, tuple(made), (block,), (*originals, *[b""] * (ITEMS - WITH_ORIGINAL)))


STORED_BYTES = len(BASE) + ITEMS * 60 + WITH_ORIGINAL * ORIGINAL_BYTES


@dataclass
class Writer:
    """Appends one batch after the other until the service dies; knows how many were acknowledged."""

    acknowledged: int = 0

    def run(self, client: Client, message_of_death: int | None, process: Process) -> None:
        """Appends until the service is gone; kills it itself when a message of a stream is given."""
        try:
            for count in range(1000):
                stream = requests(append_of(self.acknowledged), CHUNK)
                doomed = message_of_death is not None and count == 1
                messages = self._killing(stream, message_of_death, process) if doomed else stream
                answer = client.stub.Append(messages, timeout=60)
                self.acknowledged += 1
                assert answer.sequence == self.acknowledged
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise

    def _killing(
        self, stream: Iterator[pb.AppendRequest], message_of_death: int | None, process: Process
    ) -> Iterator[pb.AppendRequest]:
        for number, message in enumerate(stream):
            if number == message_of_death:
                process.process().kill()
            yield message


def found_items(client: Client, append: Append) -> list[tuple[bytes, bytes]]:
    request = pb.GetItemsRequest(collection_id=COLLECTION.collection_id, handles=handles(append.items))
    return [(item.handle, item.sealed_metadata) for item in client.stub.GetItems(request).items]


def check_batches(client: Client, first: int, end: int) -> None:
    """These batches are there with every byte of them."""
    log = client.read(COLLECTION, after=first)
    assert [header.sequence for header, _ in log.batches] == list(range(first + 1, end + 1))
    for number, (header, block) in enumerate(log.batches, start=first):
        append = append_of(number)
        assert block == append.blocks[0]
        assert header.count == ITEMS
        assert found_items(client, append) == [(item.handle, item.sealed_metadata) for item in append.items]
        for item, original in zip(append.items[:WITH_ORIGINAL], append.originals, strict=False):
            assert client.original(COLLECTION, item.handle) == original


def check_state(client: Client, writer: Writer) -> int:
    """All that was acknowledged is there, the batch under way wholly or not at all; returns the sequence."""
    record = client.get(COLLECTION)
    assert record.sequence in (writer.acknowledged, writer.acknowledged + 1)
    stored = int(record.sequence)
    assert (record.items, record.size_bytes) == (ITEMS * stored, STORED_BYTES * stored)
    packed = b"".join(run.handles for page in client.slots(COLLECTION) for run in page.runs)
    assert packed == b"".join(handles(items(ITEMS * stored)))
    assert found_items(client, append_of(stored)) == []
    return stored


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process("storage", {"data": str(tmp_path / "data")}, tmp_path / "log")
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(300)
def test_twenty_kills_lose_no_acknowledged_batch_and_leave_none_half_there(process: Process) -> None:
    generator = random.Random(20)
    writer = Writer()
    messages = len(list(requests(append_of(0), CHUNK)))
    with Client(process.address) as client:
        client.create(COLLECTION)
    for number in range(ROUNDS):
        before = writer.acknowledged
        with Client(process.address) as client:
            if number % 2:
                # In the midst of a stream, or with its last message: receiving, checking, committing.
                last = generator.random() < 0.4
                death = messages - 1 if last else generator.randrange(messages)
                writer.run(client, death, process)
            else:
                # At any moment, between the appends too.
                timer = threading.Timer(generator.uniform(0.02, 0.25), process.process().kill)
                timer.start()
                writer.run(client, None, process)
                timer.join()
        process.kill()
        process.start()
        with Client(process.address) as client:
            assert client.serving()
            stored = check_state(client, writer)
            check_batches(client, before, stored)
            if stored > writer.acknowledged:
                # Committed, but the answer was lost: repeating it gets the answer and changes nothing.
                assert client.append(append_of(writer.acknowledged)).sequence == stored
                writer.acknowledged = stored
                assert check_state(client, writer) == stored
    assert writer.acknowledged >= ROUNDS // 2
    with Client(process.address) as client:
        check_batches(client, 0, writer.acknowledged)
    assert process.stop() == 0


@pytest.mark.timeout(120)
def test_a_deletion_that_was_cut_off_is_finished_by_the_next_process(process: Process) -> None:
    with Client(process.address) as client:
        client.create(collection(1))
        batches = Batches(collection(1))
        for number in range(3):
            made = items(1, number, original_bytes=40 << 20)
            client.append(batches.make(MAIN_0, made, [original_of(number, 40 << 20)]))
        full = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes
        request = pb.DeleteCollectionRequest(collection_id=collection(1).collection_id)
        call = client.stub.DeleteCollection.future(request)
        # The collection is gone before its bytes are.
        while client.stub.ListCollections(pb.ListCollectionsRequest()).collections:
            pass
        process.kill()
        call.exception()
    process.start()
    with Client(process.address) as client:
        assert list(client.stub.ListCollections(pb.ListCollectionsRequest()).collections) == []
        while client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes > full // 20:
            pass
        client.create(collection(1))
        append = Batches(collection(1)).make(MAIN_0, items(1))
        client.append(append)
        assert client.read(collection(1)).batches[0][1] == append.blocks[0]
    assert process.stop() == 0


@pytest.mark.timeout(240)
def test_a_kill_in_the_middle_of_an_append_leaves_no_item_with_a_part_of_its_planes(process: Process) -> None:
    record = collection(2)
    pieces = pieces_of(LARGE_PLANES)
    append = Batches(record).make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)])
    messages = list(requests(append, CHUNK, pieces))
    first_piece = next(number for number, message in enumerate(messages) if message.HasField("piece"))
    generator = random.Random(21)
    deaths = [first_piece + 1, *sorted(generator.sample(range(first_piece, len(messages)), 6)), None]
    with Client(process.address) as client:
        client.create(record)
        empty = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes

    def dying(death: int | None) -> Iterator[pb.AppendRequest]:
        for number, message in enumerate(messages):
            yield message
            if number == death:
                process.process().kill()

    taken = False
    for death in deaths:
        with Client(process.address) as client:
            try:
                assert client.stub.Append(dying(death), timeout=60).sequence == 1
                taken = True
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other is a failure
        process.kill()
        process.start()
        with Client(process.address) as client:
            stored = client.get(record)
            assert (stored.items, stored.plane_items) in ((0, 0), (1, 1))
            assert stored.items or not taken
            if stored.items:
                assert client.planes(record, append.items[0].handle)[1] == pieces
            else:
                reading = pb.ReadPlanesRequest(
                    collection_id=record.collection_id, handle=identifier("item", 0)
                )
                assert refusal(lambda of=reading: client.stub.ReadPlanes(of))[1] == "NOT_FOUND"

                def freed(of: Client = client) -> bool:
                    return bool(of.stub.GetStatus(pb.GetStatusRequest()).disk_bytes <= empty)

                wait_until(freed, what="freeing what was staged")
    assert taken
    assert process.stop() == 0
