"""The evaluator's cache over restarts of real processes: taken over, repaired, kept within its limit."""

import itertools
import threading

import grpc
import pytest
from support import storage
from support.evaluator import Client, Owner, Untrusted, header, new_gallery, unit_rows
from support.services import Process, wait_until
from support.storage import MAIN_0, TAIL_0, refusal

FORMS = unit_rows(2, 8, seed=5)
FILE_BYTES = 4096 + 65536
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def owner():
    return Owner()


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    running = Untrusted(tmp_path_factory.mktemp("untrusted"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def stored(untrusted):
    with storage.Client(untrusted.storage.address) as client:
        yield client


@pytest.fixture
def searched(untrusted, owner, stored):
    """A gallery that was searched, so that the evaluator has it."""
    gallery = new_gallery(owner, stored, next(_numbers))
    gallery.add(MAIN_0, unit_rows(20, 8))
    gallery.add(TAIL_0, unit_rows(2, 8, seed=2))
    with Client(untrusted.evaluator.address) as client:
        client.score(gallery, FORMS)
    return gallery


def search(untrusted, gallery):
    with Client(untrusted.evaluator.address) as client:
        gallery.check(client.score(gallery, FORMS))


def files_of(untrusted, gallery):
    return [path for path in untrusted.files if gallery.record.collection_id.hex() in str(path)]


def test_a_killed_evaluator_is_ready_for_the_same_gallery_without_storage(untrusted, searched):
    before = files_of(untrusted, searched)
    times = [path.stat().st_mtime_ns for path in before]
    untrusted.storage.stop()
    untrusted.evaluator.kill()
    untrusted.evaluator.start()
    search(untrusted, searched)
    assert files_of(untrusted, searched) == before
    assert [path.stat().st_mtime_ns for path in before] == times
    untrusted.storage.start()


@pytest.mark.parametrize("place", [70, -1], ids=["header", "block"])
def test_a_damaged_segment_file_is_built_again(untrusted, searched, place):
    chosen = next(path for path in files_of(untrusted, searched) if path.name.startswith("main"))
    untrusted.evaluator.stop()
    content = bytearray(chosen.read_bytes())
    content[place] ^= 0x40
    chosen.write_bytes(content)
    untrusted.evaluator.start()
    search(untrusted, searched)
    assert chosen not in untrusted.files


@pytest.mark.parametrize("name", ["manifest.json", "main-00000000"])
def test_a_missing_file_is_built_again(untrusted, searched, name):
    untrusted.evaluator.stop()
    next(path for path in files_of(untrusted, searched) if path.name.startswith(name)).unlink()
    untrusted.evaluator.start()
    search(untrusted, searched)
    assert any(path.name.startswith(name) for path in files_of(untrusted, searched))


def test_a_file_damaged_while_the_evaluator_runs_is_noticed_by_the_next_scorer(untrusted, searched):
    chosen = next(path for path in files_of(untrusted, searched) if path.name.startswith("main"))
    content = bytearray(chosen.read_bytes())
    content[-1] ^= 0x40
    scorer = untrusted.workers()[0]
    scorer.kill()
    scorer.wait(10)
    chosen.write_bytes(content)
    search(untrusted, searched)
    assert chosen not in untrusted.files


def answers(client, gallery):
    try:
        client.prepare(gallery.record.collection_id)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - until it is back
        return False
    return True


def test_without_storage_what_is_ready_is_searched_and_the_rest_is_unavailable(untrusted, searched):
    untrusted.storage.stop()
    search(untrusted, searched)
    with Client(untrusted.evaluator.address) as client:
        code, reason, message = refusal(lambda: client.prepare(searched.record.collection_id))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert message.startswith("storage does not answer")
        untrusted.storage.start()
        wait_until(lambda: answers(client, searched), what="an answer of storage")


@pytest.fixture
def impatient(untrusted):
    """An evaluator that does not wait long for a caller."""
    untrusted.evaluator.stop()
    untrusted.evaluator.environment["stall_seconds"] = "0.5"
    untrusted.evaluator.start()
    with Client(untrusted.evaluator.address) as client:
        yield client
    del untrusted.evaluator.environment["stall_seconds"]


def test_a_caller_who_stops_sending_is_refused(impatient, searched):
    ended = threading.Event()

    def stalling():
        yield header(searched.record.collection_id, bytes(1000))
        ended.wait(60)

    code, reason, message = refusal(lambda: impatient.stub.Score(stalling(), timeout=60))
    ended.set()
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert message == "no chunk came for 0.5 s"


def test_a_second_evaluator_in_the_same_folder_ends_with_one_line(untrusted):
    second = Process("evaluator", untrusted.evaluator.environment, untrusted.folder / "second.log")
    with pytest.raises(RuntimeError, match="in use by another evaluator"):
        second.start()
    assert second.stop() == 1
    assert len((untrusted.folder / "second.log").read_text().splitlines()) == 1


def test_a_terminated_evaluator_exits_with_zero_and_leaves_no_process(untrusted):
    workers = untrusted.workers()
    assert len(workers) >= 2
    assert untrusted.evaluator.stop() == 0
    assert not any(worker.is_running() for worker in workers)
    untrusted.evaluator.start()


@pytest.fixture
def small(untrusted):
    """An evaluator whose cache has room for two galleries of one segment."""
    untrusted.evaluator.stop()
    settings = {"cache_bytes": str(2 * FILE_BYTES), "preload": "false"}
    untrusted.evaluator.environment |= settings
    untrusted.evaluator.start()
    with Client(untrusted.evaluator.address) as client:
        yield client
    for name in settings:
        del untrusted.evaluator.environment[name]


def test_a_small_cache_lets_the_least_recently_used_gallery_go(small, owner, stored, untrusted):
    galleries = [new_gallery(owner, stored, next(_numbers)) for _ in range(3)]
    for number, gallery in enumerate(galleries):
        gallery.add(MAIN_0, unit_rows(20, 8, seed=number))
        gallery.check(small.score(gallery, FORMS))
    assert [bool(files_of(untrusted, gallery)) for gallery in galleries] == [False, True, True]
    galleries[0].check(small.score(galleries[0], FORMS))
    assert [bool(files_of(untrusted, gallery)) for gallery in galleries] == [True, False, True]
    assert small.status().disk_bytes <= 2 * FILE_BYTES
    large = new_gallery(owner, stored, next(_numbers))
    for index in range(4):
        large.add(storage.SegmentId(storage.Region.MAIN, index), unit_rows(20, 8, seed=index))
    large.check(small.score(large, FORMS))
    status = small.status()
    assert (status.collections, status.disk_bytes) == (1, 4 * FILE_BYTES)
