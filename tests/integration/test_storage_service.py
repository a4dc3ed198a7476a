"""The storage service as a real process, over real gRPC."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import grpc
import psutil
import pytest
from support.disk import disk
from support.metrics import value
from support.ports import free_ports
from support.services import Process, failed_start, wait_until
from support.storage import (
    LARGE_PLANES,
    MAIN_0,
    MAIN_1,
    TAIL_0,
    Batches,
    Client,
    changed,
    collection,
    deletion_to,
    handles,
    identifier,
    items,
    original_of,
    pieces_of,
    random_planes,
    refusal,
    requests,
    sealed,
    settings_to,
    with_planes,
)

from blindsight import __version__
from blindsight.ciphertext.header import Form, parse_header
from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.wire.storage import AppendItem, Planes
from services.storage.records import Append
from services.storage.stores.sqlite import FILE_NAME
from services.storage.stores.sqlite.connections import RESERVE_NAME, SCHEMA

COLLECTION = collection()
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts storage in one folder, however often; all processes are stopped at the end."""
    started: list[Process] = []

    def start_one(**settings: str) -> Process:
        process = Process("storage", {"data": str(tmp_path / "data"), **settings}, tmp_path / "log")
        started.append(process)
        process.start()
        return process

    yield start_one
    for process in started:
        process.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One process for all tests that need none of their own."""
    folder = tmp_path_factory.mktemp("storage")
    # Who is refused with CONFLICT here does not come again for the turn that is kept for it.
    settings = {"data": str(folder / "data"), "turn_seconds": "0.2"}
    process = Process("storage", settings, folder / "log")
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(service: Process) -> Iterator[Client]:
    """A client of a service that holds one empty collection."""
    with Client(service.address) as made:
        for record in made.stub.ListCollections(pb.ListCollectionsRequest()).collections:
            made.stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=record.collection_id))
        made.create(COLLECTION)
        yield made


def fails_to_start(folder: Path, **settings: str) -> str:
    """The one line with which a process refuses to start."""
    return failed_start("storage", {"data": str(folder), **settings})


# --- the life of the process --------------------------------------------------------------------------


def test_it_stops_cleanly_and_starts_again_with_all_it_had(start: Start) -> None:
    process = start()
    with Client(process.address) as client:
        client.create(COLLECTION)
        append = Batches(COLLECTION).make(
            MAIN_0, items(2, original_bytes=300), [original_of(n, 300) for n in (0, 1)]
        )
        client.append(append)
    assert process.stop() == 0
    with Client(start().address) as client:
        assert client.read(COLLECTION).batches[0][1] == append.blocks[0]
        assert client.original(COLLECTION, append.items[1].handle) == original_of(1, 300)


def test_a_second_process_on_the_same_folder_is_refused_with_the_folder(start: Start, tmp_path: Path) -> None:
    first = start()
    line = fails_to_start(tmp_path / "data")
    assert line == f"blindsight storage: folder {tmp_path / 'data'} is in use by another storage process"
    with Client(first.address) as client:
        assert client.serving()


def test_a_killed_process_leaves_its_folder_free(start: Start) -> None:
    start().kill()
    with Client(start().address) as client:
        assert client.serving()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": "red"}, "unknown setting BLINDSIGHT_STORAGE_COLOUR"),
        ({"log_level": "loud"}, "setting BLINDSIGHT_STORAGE_LOG_LEVEL"),
        ({"receive_bytes": "1000"}, "setting BLINDSIGHT_STORAGE_RECEIVE_BYTES"),
        ({"address": "0.0.0.0:0"}, "not loopback"),
    ],
)
def test_a_bad_setting_is_one_line(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    assert message in fails_to_start(tmp_path / "data", **settings)


def test_a_taken_port_is_one_line(start: Start, tmp_path: Path) -> None:
    taken = start().address
    assert f"cannot bind {taken}" in fails_to_start(tmp_path / "other", address=taken)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in fails_to_start(tmp_path / "file" / "data")


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"junk" * 5000)
    assert fails_to_start(tmp_path) == "blindsight storage: the database is damaged: restore it from a copy"


def test_status_tells_version_counts_and_sizes(client: Client) -> None:
    client.append(Batches(COLLECTION).make(MAIN_0, items(3)))
    status = client.stub.GetStatus(pb.GetStatusRequest())
    assert (status.version, status.collections, status.items, status.schema_version) == (
        __version__,
        1,
        3,
        SCHEMA.version,
    )
    assert status.disk_bytes > client.get(COLLECTION).size_bytes > 65_000
    assert status.memory_bytes > 10 << 20


def test_the_process_loads_nothing_that_could_read_a_picture_or_a_key(start: Start, tmp_path: Path) -> None:
    code = "import sys, services.storage.__main__; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "services.storage.stores.sqlite" in loaded
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {"numpy", "tenseal", "PIL", "cryptography", "numba", "skimage", "cv2"}
    assert not {name for name in loaded if name.startswith("blindsight.trusted")}


# --- collections --------------------------------------------------------------------------------------


def test_collections_are_made_listed_changed_and_deleted(client: Client) -> None:
    made = [client.get(COLLECTION)] + [client.create(collection(number)) for number in range(1, 5)]
    request = pb.ListCollectionsRequest(page_size=2)
    listed, pages = [], 0
    while pages == 0 or request.page_token:
        answer = client.stub.ListCollections(request)
        listed += answer.collections
        request.page_token = answer.next_page_token
        pages += 1
    assert (listed, pages) == (made, 3)
    key = COLLECTION.collection_id
    client.stub.ReplaceConfig(settings_to(COLLECTION, sealed(80, "new"), 1).to_message())
    assert client.get(COLLECTION).sealed_config == sealed(80, "new")
    client.stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=key))
    again = refusal(lambda: client.stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=key)))
    assert again[:2] == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert list(client.stub.ListCollections(pb.ListCollectionsRequest()).collections) == made[1:]


# --- appends and reads --------------------------------------------------------------------------------


def test_a_batch_and_its_originals_come_back_byte_by_byte(client: Client) -> None:
    sizes = [0, 4, 70_000, 3_000_000]
    made = [items(1, n, metadata_bytes=40, original_bytes=size)[0] for n, size in enumerate(sizes)]
    append = Batches(COLLECTION).make(MAIN_0, made, [original_of(n, size) for n, size in enumerate(sizes)])
    answer = client.append(append)
    assert (answer.sequence, answer.epoch) == (1, 0)
    log = client.read(COLLECTION)
    assert (log.header.sequence, log.header.batches, log.header.size_bytes) == (1, 1, len(append.blocks[0]))
    ((batch, block),) = log.batches
    assert block == append.blocks[0]
    assert parse_header(block).form is Form.BATCH
    assert (batch.segment.region, batch.segment.index) == (pb.REGION_MAIN, 0)
    assert (batch.first_slot, batch.count, batch.block_sha256) == (
        0,
        4,
        append.header.batches[0].block_sha256,
    )
    for number, size in enumerate(sizes[1:], start=1):
        assert client.original(COLLECTION, made[number].handle) == original_of(number, size)
    request = pb.GetItemsRequest(collection_id=COLLECTION.collection_id, handles=handles(made))
    found = client.stub.GetItems(request).items
    assert [(item.handle, item.sealed_metadata) for item in found] == [
        (item.handle, item.sealed_metadata) for item in made
    ]
    assert [item.original_size_bytes for item in found] == sizes


@pytest.mark.parametrize("chunk_bytes", [777, 65_536, 70_000, 3 << 20])
def test_chunks_need_no_borders_where_block_and_originals_have_theirs(
    client: Client, chunk_bytes: int
) -> None:
    made = items(3, original_bytes=1000)
    originals = [original_of(number, 1000) for number in range(3)]
    append = Batches(COLLECTION).make(MAIN_0, made, originals)
    client.append(append, chunk_bytes)
    assert client.read(COLLECTION).batches[0][1] == append.blocks[0]
    assert [client.original(COLLECTION, item.handle) for item in made] == originals


def test_a_repeated_batch_gets_the_same_answer_without_being_received(client: Client) -> None:
    batches = Batches(COLLECTION)
    first = batches.make(MAIN_0, items(2))
    answer = client.append(first)
    client.append(batches.make(TAIL_0, items(1, start=2)))
    before = client.get(COLLECTION)
    assert client.append(first) == answer
    only_header = iter([next(requests(first))])
    assert client.stub.Append(only_header) == answer
    assert client.get(COLLECTION) == before


def test_a_conflict_names_both_sequences_and_may_be_retried(client: Client) -> None:
    batches = Batches(COLLECTION, sequence=4)
    code, reason, message = refusal(lambda: client.append(batches.make(MAIN_0, items(1))))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert message == "the collection is at sequence 0, the append expects 4"


def test_a_taken_handle_is_refused_by_position(client: Client) -> None:
    batches = Batches(COLLECTION)
    client.append(batches.make(MAIN_0, items(2)))
    again = batches.make(MAIN_0, [*items(1, start=5), *items(1)])
    code, reason, message = refusal(lambda: client.append(again))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert message.endswith("of the items 1")


def test_the_log_is_filtered_by_sequence_and_segment(client: Client) -> None:
    batches = Batches(COLLECTION)
    for number, segment in enumerate((MAIN_0, TAIL_0, MAIN_1)):
        client.append(batches.make(segment, items(1, start=number)))
    assert [batch.sequence for batch, _ in client.read(COLLECTION, after=1).batches] == [2, 3]
    assert [batch.sequence for batch, _ in client.read(COLLECTION, only=[MAIN_1, TAIL_0]).batches] == [2, 3]
    assert client.read(COLLECTION, after=2**64 - 1).batches == []


def test_deleting_and_retiring_show_in_slots_and_log(client: Client) -> None:
    batches = Batches(COLLECTION)
    client.append(batches.make(TAIL_0, items(3)))
    deleted = client.stub.DeleteItems(deletion_to(COLLECTION, handles(items(1)), 2))
    assert (deleted.deleted, deleted.sequence) == (1, 2)
    (page,) = client.slots(COLLECTION)
    assert page.runs[0].handles == bytes(16) + b"".join(handles(items(2, start=1)))
    batches.sequence = 2
    answer = client.append(batches.make(MAIN_0, items(2, start=1), retires=[TAIL_0]))
    assert (answer.sequence, answer.epoch) == (3, 1)
    (page,) = client.slots(COLLECTION)
    assert [(run.segment.region, len(run.handles), len(run.batches)) for run in page.runs] == [
        (pb.REGION_MAIN, 32, 1)
    ]
    assert (page.sequence, page.epoch, page.next_main_index, page.next_tail_index) == (3, 1, 1, 1)
    log = client.read(COLLECTION, after=1)
    assert [(retired.region, retired.index) for retired in log.header.retired] == [(pb.REGION_TAIL, 0)]
    batches.sequence = 3
    gone = deletion_to(COLLECTION, handles(items(2, start=1)), 4, epoch=1)
    batches.sequence = client.stub.DeleteItems(gone).sequence
    assert client.append(batches.retiring(MAIN_0)).epoch == 2
    (page,) = client.slots(COLLECTION)
    assert list(page.runs) == []


def test_a_slot_map_of_many_segments_comes_in_messages_of_one_snapshot(client: Client) -> None:
    record = collection(5, dimension=1, stride=1)
    client.create(record)
    batches = Batches(record)
    made = items(4096 * 18)
    for number in range(18):
        part = made[4096 * number : 4096 * (number + 1)]
        client.append(batches.make(SegmentId(Region.MAIN, number), part))
    pages = client.slots(record)
    assert len(pages) > 1
    assert all(page.ByteSize() <= (1 << 20) + 4096 * 16 for page in pages)
    assert {(page.sequence, page.epoch, page.next_main_index) for page in pages} == {(18, 0, 18)}
    assert b"".join(run.handles for page in pages for run in page.runs) == b"".join(handles(made))


def test_flipped_bytes_in_the_database_are_data_loss_and_the_rest_is_served(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    batches = Batches(COLLECTION)
    appends = [batches.make(MAIN_0, items(1, number)) for number in range(2)]
    with Client(process.address) as client:
        client.create(COLLECTION)
        for append in appends:
            client.append(append)
    process.stop()
    path = tmp_path / "data" / FILE_NAME
    data = bytearray(path.read_bytes())
    data[data.index(appends[0].blocks[0][3000:3064])] ^= 1
    path.write_bytes(data)
    with Client(start().address) as client:
        code, reason, message = refusal(lambda: client.read(COLLECTION))
        assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "DATA_LOSS")
        assert "\n" not in message
        assert client.read(COLLECTION, after=1).batches[0][1] == appends[1].blocks[0]
        assert client.serving()


def test_a_full_disk_refuses_the_append_and_serves_on(start: Start) -> None:
    with Client(start(max_disk_bytes=str(3 << 20)).address) as client:
        client.create(COLLECTION)
        batches = Batches(COLLECTION)
        client.append(batches.make(MAIN_0, items(1)))
        large = batches.make(MAIN_0, items(1, 1, original_bytes=4 << 20), [original_of(1, 4 << 20)])
        code, reason, message = refusal(lambda: client.append(large))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
        assert "disk is full" in message
        assert client.get(COLLECTION).items == 1
        batches.sequence = 1
        batches.filled[MAIN_0] = 1
        client.append(batches.make(MAIN_0, items(1, 2)))
        assert len(client.read(COLLECTION).batches) == 2


def test_on_a_full_disk_deletes_and_repacks_go_and_appends_follow_when_there_is_room(tmp_path: Path) -> None:
    reserve_bytes = 24 << 20
    with disk(tmp_path / "disk", 96 << 20) as made:
        settings = {"data": str(made.folder / "data"), "reserve_bytes": str(reserve_bytes)}
        service = Process("storage", settings, tmp_path / "log", within=made.within)
        service.start()
        try:
            with Client(service.address) as client:
                client.create(COLLECTION)
                stored = _fill(client)
                made.fill()  # whatever else lies on it
                gone, kept = handles(items(stored - 2)), handles(items(2, start=stored - 2))
                done = client.stub.DeleteItems(deletion_to(COLLECTION, gone, stored + 1), timeout=60)
                assert done.deleted == stored - 2
                batches = Batches(COLLECTION, done.sequence, made=1000)
                moved = [AppendItem(handle) for handle in kept]
                client.append(batches.make(MAIN_1, moved, retires=[MAIN_0]))
                assert [client.original(COLLECTION, handle) for handle in kept] == [
                    original_of(number, _LARGE) for number in (stored - 2, stored - 1)
                ]
                # The reserve is there again, and others may write.
                assert made.size_of(made.folder / "data" / RESERVE_NAME) == reserve_bytes
                client.append(batches.make(MAIN_1, items(1, start=5000)))
        finally:
            service.stop()


_LARGE = 3 << 20


def _fill(client: Client) -> int:
    """Stores items with large originals until one is refused; returns how many there are."""
    batches = Batches(COLLECTION)
    for stored in range(1000):
        append = batches.make(MAIN_0, items(1, stored, original_bytes=_LARGE), [original_of(stored, _LARGE)])
        try:
            client.append(append)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return stored
            raise
    raise AssertionError("a thousand large originals found room")


# --- together -----------------------------------------------------------------------------------------


def test_readers_see_one_snapshot_while_others_write(client: Client) -> None:
    batches = Batches(COLLECTION)
    for number in range(30):
        client.append(batches.make(MAIN_0, items(1, number)))
    request = pb.ReadBatchesRequest(collection_id=COLLECTION.collection_id)
    slow = client.stub.ReadBatches(request)
    assert next(slow).log.batches == 30
    client.append(batches.make(MAIN_1, items(30), retires=[MAIN_0]))
    assert client.read(COLLECTION).header.batches == 1
    assert sum(response.WhichOneof("part") == "batch" for response in slow) == 30


def test_appends_to_many_collections_at_once_are_all_kept(client: Client) -> None:
    records = [collection(number) for number in range(1, 7)]

    def fill(number: int) -> None:
        record = records[number]
        client.create(record)
        batches = Batches(record)
        for count in range(6):
            client.append(batches.make(MAIN_0, items(5, start=5 * count)))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(fill, range(6)))
    for record in records:
        assert len(client.read(record).batches) == 6
        assert client.get(record).items == 30


def test_one_of_many_appends_for_the_same_sequence_is_taken(client: Client) -> None:
    appends = []
    for number in range(8):
        batches = Batches(COLLECTION, made=number)
        appends.append(batches.make(MAIN_0, items(1, number)))

    def attempt(append: object) -> str:
        try:
            client.append(append)  # type: ignore[arg-type]
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, appends)) == ["ABORTED"] * 7 + ["OK"]
    assert client.get(COLLECTION).items == 1


class Halting:
    """A call of Append that sends some messages of a stream, and then nothing until it is let go on."""

    def __init__(self, client: Client, append: Append, messages: int = 1) -> None:
        self._append, self._messages = append, messages
        self._go_on = threading.Event()
        self.call = client.stub.Append.future(self._stream())

    def _stream(self) -> Iterator[pb.AppendRequest]:
        messages = requests(self._append)
        yield from islice(messages, self._messages)
        if self._go_on.wait(30):
            yield from messages

    def finish(self) -> pb.AppendResponse:
        """Sends the rest."""
        self._go_on.set()
        return self.call.result(timeout=30)

    def wait_until_told_to_go_ahead(self) -> None:
        """Returns when storage has read the header and awaits the rest, or has refused it."""
        self.call.initial_metadata()


def test_a_stale_append_is_refused_at_its_header_before_anything_else_comes(client: Client) -> None:
    batches = Batches(COLLECTION)
    client.append(batches.make(MAIN_0, items(1)))
    stale = Halting(client, Batches(COLLECTION, made=5).make(MAIN_0, items(1, start=1)))
    code, reason, message = refusal(lambda: stale.call.result(timeout=30))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "CONFLICT")
    assert message == "the collection is at sequence 1, the append expects 0"


def test_an_append_waits_while_another_comes_in_and_is_told_before_it_sends_more(start: Start) -> None:
    with Client(start(turn_seconds="30").address) as client:
        client.create(COLLECTION)
        first = Halting(client, Batches(COLLECTION).make(MAIN_0, items(2)))
        first.wait_until_told_to_go_ahead()
        second = Halting(client, Batches(COLLECTION, made=1).make(MAIN_0, items(2, start=2)))
        assert client.serving()
        assert not second.call.done()
        assert first.finish().sequence == 1
        code, reason, _ = refusal(lambda: second.call.result(timeout=30))
        assert (code, reason) == (grpc.StatusCode.ABORTED, "CONFLICT")


def test_who_was_refused_comes_again_under_its_batch_id_before_those_who_wait(start: Start) -> None:
    with Client(start(turn_seconds="30").address) as client:
        client.create(COLLECTION)
        batches = Batches(COLLECTION)
        client.append(batches.make(MAIN_0, items(1)))
        placed_anew = batches.make(MAIN_0, items(1, start=1))
        stale = replace(placed_anew, header=changed(placed_anew.header, expected_sequence=0))
        assert refusal(lambda: client.append(stale))[1] == "CONFLICT"
        other = Halting(client, Batches(COLLECTION, sequence=1, made=9).make(TAIL_0, items(1, start=2)))
        assert client.append(placed_anew).sequence == 2
        assert refusal(lambda: other.call.result(timeout=30))[1] == "CONFLICT"


def test_who_took_a_turn_places_a_batch_and_appends_it_before_those_who_wait(start: Start) -> None:
    with Client(start(turn_seconds="30").address) as client:
        client.create(COLLECTION)
        batches = Batches(COLLECTION)
        client.append(batches.make(MAIN_0, items(1)))
        mine = batches.make(MAIN_0, items(1, start=1))
        asked = pb.TakeTurnRequest(collection_id=COLLECTION.collection_id, batch_id=mine.header.batch_id)
        assert client.stub.TakeTurn(asked, timeout=30).sequence == 1
        other = Halting(client, Batches(COLLECTION, sequence=1, made=9).make(TAIL_0, items(1, start=2)))
        assert client.append(mine).sequence == 2
        assert refusal(lambda: other.call.result(timeout=30))[1] == "CONFLICT"


def test_a_turn_is_for_a_collection_that_exists_and_a_batch_with_an_id(client: Client) -> None:
    unknown = pb.TakeTurnRequest(collection_id=b"n" * 16, batch_id=b"b" * 16)
    assert refusal(lambda: client.stub.TakeTurn(unknown, timeout=30))[1] == "NOT_FOUND"
    client.create(COLLECTION)
    short = pb.TakeTurnRequest(collection_id=COLLECTION.collection_id, batch_id=b"short")
    assert refusal(lambda: client.stub.TakeTurn(short, timeout=30))[1] == "INVALID_ARGUMENT"


def test_a_header_and_then_silence_delay_another_append_no_longer_than_a_turn(start: Start) -> None:
    with Client(start(turn_seconds="0.3").address) as client:
        client.create(COLLECTION)
        batches = Batches(COLLECTION)
        silent = Halting(client, Batches(COLLECTION, made=9).make(MAIN_0, items(1)))
        silent.wait_until_told_to_go_ahead()
        for count in range(3):
            client.append(batches.make(MAIN_0, items(1, start=count)))
        assert not silent.call.done()  # its stream would be given up after a minute
        assert client.get(COLLECTION).sequence == 3
        assert refusal(silent.finish)[1] == "CONFLICT"


def test_an_append_whose_sender_goes_away_leaves_its_turn_to_the_next(start: Start) -> None:
    with Client(start(turn_seconds="30").address) as client:
        client.create(COLLECTION)
        gone = Halting(client, Batches(COLLECTION, made=9).make(MAIN_0, items(1)))
        gone.wait_until_told_to_go_ahead()
        waiting = client.stub.Append.future(requests(Batches(COLLECTION).make(MAIN_0, items(1))))
        gone.call.cancel()
        assert waiting.result(timeout=20).sequence == 1


def test_readers_that_go_away_leave_their_turns_to_others(start: Start) -> None:
    with Client(start(read_streams="2").address) as client:
        record = collection(dimension=256, stride=1)
        client.create(record)
        append = Batches(record).make(MAIN_0, items(1))
        client.append(append)
        for _ in range(6):
            stream = client.stub.ReadBatches(pb.ReadBatchesRequest(collection_id=record.collection_id))
            next(stream)
            stream.cancel()
        assert client.read(record).batches[0][1] == append.blocks[0]


def test_readers_that_stand_still_lose_their_turns(start: Start) -> None:
    with Client(start(read_streams="2", stall_seconds="0.5").address) as client:
        record = collection(dimension=256, stride=1)
        client.create(record)
        append = Batches(record).make(MAIN_0, items(1))
        client.append(append)
        request = pb.ReadBatchesRequest(collection_id=record.collection_id)
        # Eight megabytes are more than lies in buffers, so the service has to wait for these readers.
        still = [client.stub.ReadBatches(request) for _ in range(2)]
        for stream in still:
            next(stream)
        assert client.read(record).batches[0][1] == append.blocks[0]


def test_an_append_that_stands_still_is_given_up(start: Start) -> None:
    with Client(start(stall_seconds="0.5").address) as client:
        client.create(COLLECTION)
        over = threading.Event()

        def halting() -> Iterator[pb.AppendRequest]:
            yield next(requests(Batches(COLLECTION).make(MAIN_0, items(1))))
            over.wait(30)

        code, reason, message = refusal(lambda: client.stub.Append(halting()))
        over.set()
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert message == "nothing came for 0.5 seconds"
        assert client.get(COLLECTION).sequence == 0


def test_an_append_that_the_sender_gives_up_leaves_nothing(client: Client) -> None:
    append = Batches(COLLECTION).make(MAIN_0, items(2))
    over = threading.Event()

    def halting() -> Iterator[pb.AppendRequest]:
        messages = requests(append, 10_000)
        for _ in range(4):
            yield next(messages)
        over.wait(30)

    call = client.stub.Append.future(halting())
    call.cancel()
    over.set()
    assert client.get(COLLECTION).sequence == 0
    assert client.append(append).sequence == 1


def test_sweeping_after_a_retiring_append_gives_the_disk_back(client: Client) -> None:
    record = collection(3, dimension=256, stride=1)
    client.create(record)
    batches = Batches(record)
    for number in range(3):
        client.append(batches.make(SegmentId(Region.MAIN, number), items(1, number)))
    retired = [SegmentId(Region.MAIN, number) for number in range(3)]
    client.append(batches.make(TAIL_0, items(3), retires=retired))
    wait_until(lambda: client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes < 2 << 20, what="less disk")
    assert client.read(record).header.batches == 1


def test_health_is_answered_while_large_appends_come_in(client: Client) -> None:
    record = collection(4, dimension=512, stride=1)
    client.create(record)
    append = Batches(record).make(MAIN_0, items(4096, metadata_bytes=60))
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(client.append, append)
        checks = 0
        while not coming.done():
            assert client.serving()
            checks += 1
        assert coming.result().sequence == 1
    assert checks > 0


def test_no_id_and_no_byte_of_an_item_is_logged(start: Start, tmp_path: Path) -> None:
    process = start()
    made = items(2, metadata_bytes=100)
    with Client(process.address) as client:
        client.create(COLLECTION)
        client.append(Batches(COLLECTION).make(MAIN_0, made))
        refusal(lambda: client.original(COLLECTION, identifier("unknown")))
    process.stop()
    log = (tmp_path / "log").read_text()
    assert "/Append" in log
    assert "Traceback" not in log
    for secret in (*handles(made), identifier("unknown")):
        assert secret.hex() not in log


def test_metrics_count_what_was_stored(start: Start, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    process = start(metrics_port=str(port))
    with Client(process.address) as client:
        client.create(COLLECTION)
        append = Batches(COLLECTION).make(
            MAIN_0, items(2, original_bytes=500), [original_of(n, 500) for n in (0, 1)]
        )
        client.append(append)
        client.append(append)  # a repetition stores nothing
    assert value(port, "blindsight_storage_stored_items_total") == 2
    assert value(port, "blindsight_storage_stored_bytes_total") == len(append.blocks[0]) + 1000


def test_a_stopped_process_is_gone(start: Start) -> None:
    process = start()
    assert process.popen is not None
    pid = process.popen.pid
    assert process.stop() == 0
    assert not psutil.pid_exists(pid)


# --- planes -------------------------------------------------------------------------------------------


def test_planes_come_back_byte_by_byte_and_go_with_their_item(client: Client) -> None:
    empty = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes
    made = [with_planes(item, LARGE_PLANES) for item in items(2, metadata_bytes=30, original_bytes=900)]
    pieces = [pieces_of(LARGE_PLANES, number) for number in range(2)]
    batch = Batches(COLLECTION).make(MAIN_0, made, [original_of(number, 900) for number in range(2)])
    client.append(batch, 777_777, [*pieces[0], *pieces[1]])
    for item, expected in zip(made, pieces, strict=True):
        header, got = client.planes(COLLECTION, item.handle)
        assert got == expected
        assert header.size_bytes == sum(map(len, expected))
        assert Planes.from_message(header.planes) == LARGE_PLANES
    size = sum(map(len, pieces[0]))
    record = client.get(COLLECTION)
    assert (record.plane_items, record.plane_bytes) == (2, 2 * size)
    key = COLLECTION.collection_id
    asked = client.stub.GetItems(pb.GetItemsRequest(collection_id=key, handles=handles(made))).items
    assert [item.planes_size_bytes for item in asked] == [size, size]
    client.stub.DeleteItems(deletion_to(COLLECTION, handles(made), record.sequence + 1))
    record = client.get(COLLECTION)
    assert (record.plane_items, record.plane_bytes) == (0, 0)
    disk = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes
    assert disk - empty < record.size_bytes + (1 << 20)


def test_an_append_that_the_sender_gives_up_frees_what_was_staged(client: Client) -> None:
    empty = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes
    batch = Batches(COLLECTION).make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)])
    staged, go_on = threading.Event(), threading.Event()

    def disk_bytes() -> int:
        return int(client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes)

    def half() -> Iterator[pb.AppendRequest]:
        yield from requests(batch, pieces=pieces_of(LARGE_PLANES)[:1])
        staged.set()
        go_on.wait(30)

    call = client.stub.Append.future(half())
    assert staged.wait(30)
    wait_until(lambda: disk_bytes() > empty + (1 << 20), what="staging")
    call.cancel()
    go_on.set()
    wait_until(lambda: disk_bytes() <= empty, what="freeing what was staged")
    assert client.get(COLLECTION).sequence == 0
    assert client.append(batch, pieces=pieces_of(LARGE_PLANES)).sequence == 1


def peak_memory(process: Process) -> int:
    """The most memory that the process ever had, in bytes."""
    status = Path(f"/proc/{process.process().pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def test_however_many_planes_pass_through_the_memory_stays_the_same(start: Start) -> None:
    process = start()
    planes = Planes(3840, 2160, 3)
    counts = planes.tiling(COLLECTION.parameters).pieces
    by_count = {count: random_planes(count) for count in set(counts)}
    seal = sealed(planes.tiling(COLLECTION.parameters).seal_bytes(COLLECTION.parameters))
    sent = [*(by_count[count] for count in counts), seal]
    size = sum(map(len, sent))
    assert size > 190 << 20
    batches = Batches(COLLECTION)
    made = [with_planes(item, planes) for item in items(2)]
    with Client(process.address) as client:
        client.create(COLLECTION)
        # The database's cache and the allocator's reserves fill up once.
        client.append(batches.make(MAIN_0, made[:1]), pieces=sent)
        before = peak_memory(process)
        client.append(batches.make(MAIN_0, made[1:]), pieces=sent)
        for item in made:
            request = pb.ReadPlanesRequest(collection_id=COLLECTION.collection_id, handle=item.handle)
            assert sum(len(response.chunk) for response in client.stub.ReadPlanes(request)) == size
        assert peak_memory(process) - before < 48 << 20
