"""What can happen to a file: a full disk, damage, a wrong file, processes that meet in it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.disk import disk
from support.queues import JOB, Place, line, message, published, taken, worker
from support.servers import TESTS
from support.services import wait_until

from blindsight.errors import DataLoss, InvalidArgument, Unavailable
from blindsight.trusted.queue.database import CUT_BYTES, PAGE_BYTES, SPARE_BYTES

ON_A_SMALL_DISK = """
import sys
from support.queues import Place, message, published, taken
from blindsight.errors import ResourceExhausted
from blindsight.trusted.queue import QueueOptions

with Place(f"embedded:{sys.argv[1]}/queue", QueueOptions()).open() as queue:
    sent = []
    try:
        while True:
            one = message(2_000_000)
            queue.publish(one)
            sent.append(one)
    except ResourceExhausted as error:
        print(error.message)
    consumer = queue.consumer(prefetch=1)
    for one in sent:
        delivery = taken(consumer)
        assert delivery.message == one
        assert delivery.ack()
    assert consumer.take(0) is None
    assert len(published(queue, 10)) == 10
    print(len(sent) > 5)
"""


def path_of(place: Place) -> Path:
    return Path(place.url.partition(":")[2])


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    script = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n{ON_A_SMALL_DISK}"
    with disk(tmp_path / "disk", 120 << 20) as made:
        done = subprocess.run(
            [*made.within, sys.executable, "-c", script, str(made.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    refusal, many = done.stdout.splitlines()
    assert refusal.startswith("the queue's disk is full: ")
    assert many == "True"


def test_the_disk_gets_its_room_back(embedded: Place) -> None:
    with embedded.open() as queue:
        for _ in range(5):
            queue.publish(message(20_000_000))
        consumer = queue.consumer(prefetch=1)
        for _ in range(5):
            assert taken(consumer).ack()
        for _ in range(3):
            assert consumer.take(0.01) is None  # a consumer without work gives a part back
    assert path_of(embedded).stat().st_size < SPARE_BYTES


def test_room_is_given_back_in_parts_between_which_others_publish(embedded: Place) -> None:
    count = 3 * CUT_BYTES // 20_000_000
    with embedded.open() as queue, embedded.open() as other:
        for _ in range(count):
            queue.publish(message(20_000_000))
        consumer = queue.consumer(prefetch=1)
        for _ in range(count):
            assert taken(consumer).ack()
        before = free_bytes(path_of(embedded))
        assert consumer.take(0.01) is None
        assert before - free_bytes(path_of(embedded)) == CUT_BYTES
        other.publish(message(1000))
        assert taken(consumer).ack()


def free_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA freelist_count").fetchone()[0]) * PAGE_BYTES


@pytest.mark.parametrize("offset", [0, 8192], ids=["header", "tables"])
def test_a_damaged_file_is_named_as_such(embedded: Place, offset: int) -> None:
    with embedded.open() as queue:
        published(queue, 100)
    with path_of(embedded).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 40_000)
    with pytest.raises(DataLoss, match="the database is damaged"):
        use(embedded)


def use(place: Place) -> None:
    with place.open() as queue:
        published(queue, 1)
        taken(queue.consumer(prefetch=1))


def test_a_file_of_something_else_is_left_alone(embedded: Place) -> None:
    with sqlite3.connect(path_of(embedded)) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    with pytest.raises(InvalidArgument, match="is not a queue of Blindsight"):
        embedded.open()
    with sqlite3.connect(path_of(embedded)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("recipes",)]
    db.close()


def test_a_file_of_another_version_is_refused(embedded: Place) -> None:
    embedded.open().close()
    with sqlite3.connect(path_of(embedded)) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(InvalidArgument, match="has schema version 7, newer than this program's 2"):
        embedded.open()


def test_a_place_where_no_file_can_be_is_unavailable(embedded: Place) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        Place("embedded:/proc/nowhere/queue", embedded.settings).open()


def test_processes_that_make_the_file_at_once_get_one_queue(embedded: Place) -> None:
    with ExitStack() as stack:
        working = [
            stack.enter_context(worker(embedded, "publish", job_id=JOB.hex(), size=10, count=1))
            for _ in range(4)
        ]
        for process in working:
            line(process, "done")
    with embedded.open() as queue:
        assert queue.depth().ready == 4


def test_the_queue_knows_what_is_with_workers(embedded: Place) -> None:
    with embedded.open() as queue:
        published(queue, 3)
        consumer = queue.consumer(prefetch=2)
        taken(consumer), taken(consumer)
        assert (queue.depth().ready, queue.depth().unacknowledged) == (1, 2)
        assert queue.purge(JOB) == 1
        assert (queue.depth().ready, queue.depth().unacknowledged) == (0, 2)


def test_leases_that_ran_out_are_noticed_without_a_consumer(embedded: Place) -> None:
    with embedded.open() as queue:
        published(queue, 1)
        with worker(embedded, "hold") as process:
            line(process, "took")
        wait_until(lambda: (queue.depth().ready, queue.depth().unacknowledged) == (1, 0))


@pytest.mark.parametrize("jump_seconds", [-86_400.0, 86_400.0], ids=["back", "forth"])
def test_a_wall_clock_that_is_set_takes_no_message_from_a_worker_and_keeps_none_with_a_dead_one(
    embedded: Place, jump_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    with embedded.open() as queue:
        published(queue, 2)
        living = queue.consumer(prefetch=1)
        kept = taken(living)
        with worker(embedded, "hold") as process:
            line(process, "took")
        monkeypatch.setattr(time, "time", lambda: true_time() + jump_seconds)
        assert queue.depth().unacknowledged >= 1
        wait_until(lambda: (queue.depth().ready, queue.depth().unacknowledged) == (1, 1))
        assert kept.ack()


def test_a_lease_of_before_the_machine_was_started_is_over(embedded: Place) -> None:
    with embedded.open() as queue:
        published(queue, 1)
        with worker(embedded, "hold") as process:
            line(process, "took")
        with sqlite3.connect(path_of(embedded)) as db:  # as if that machine had run for long
            db.execute("UPDATE consumers SET machine_start = 'another', expires_seconds = 1e9")
        db.close()
        assert taken(queue.consumer(prefetch=1)).ack()


def test_a_queue_of_an_earlier_version_is_refused_in_one_line(embedded: Place) -> None:
    with embedded.open() as queue:
        published(queue, 2)
    with sqlite3.connect(path_of(embedded)) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(InvalidArgument, match="schema version 1, older than this program's 2"):
        embedded.open()
