"""What workers cannot do ends among the dead letters, is told, and can be tried again; queues fill up."""

import contextlib
import threading
import time

import psutil
import pytest
from support.bulk import assert_holds
from support.photos import encoded, many, photo
from support.services import wait_until

import blindsight
from blindsight.errors import NotFound

PHOTOS = many(40)
ROOM = 5
IN_A_FILE = pytest.mark.parametrize("services", ["embedded"], indirect=True)


@contextlib.contextmanager
def killing(worker):
    """Kills the processes that decode for a worker as soon as they are there."""
    ended = threading.Event()

    def kill():
        while not ended.is_set():
            with contextlib.suppress(psutil.Error):
                for process in worker.workers():
                    process.kill()
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


@IN_A_FILE
@pytest.mark.timeout(180)
def test_a_photo_that_kills_its_process_every_time_is_given_up_and_can_be_tried_again(bulk, collection):
    worker = bulk.worker(tries="2")
    with killing(worker):
        # So large that its process does not finish before it is found and killed.
        job = collection.ingest_bulk([("deadly.png", encoded(photo("chelsea").resize((5000, 3000)), "PNG"))])
        end = job.wait()
    assert (end.done, end.failed) == (0, 1)
    (failed,) = job.failed()
    assert (failed.name, failed.reason) == ("deadly.png", "UNAVAILABLE")
    assert failed.message == "opened alone 2 times, it killed the process that did so each time"
    assert worker.popen.poll() is None
    assert job.retry() == 1
    assert (job.wait().done, job.info().failed) == (1, 0)
    assert list(job.failed()) == []


@IN_A_FILE
@pytest.mark.timeout(180)
def test_photos_that_a_queue_gives_up_are_listed_and_can_be_tried_again(bulk, collection):
    with bulk.another_queue(queue_max_deliveries="2"), bulk.open_queue() as queue:
        job = collection.ingest_bulk(PHOTOS[:5])
        for _ in range(2):
            worker = bulk.worker(linger_seconds="600")  # it holds all of them, and stores none
            wait_until(lambda: queue.depth().unacknowledged == 5, what="all photos with the worker")
            worker.kill()
            wait_until(lambda: queue.depth().unacknowledged == 0, what="the worker's lease to run out")
        end = job.wait()
        assert (end.done, end.failed) == (0, 5)
        assert {item.reason for item in job.failed()} == {"UNAVAILABLE"}
        assert all(item.message.startswith("delivered 2 times: ") for item in job.failed())
        assert job.retry() == 5
        bulk.worker()
        assert (job.wait().done, job.info().failed) == (5, 0)
        assert_holds(collection, PHOTOS[:5])


@pytest.mark.timeout(180)
def test_a_full_queue_slows_the_stream_down_says_so_and_loses_nothing(bulk, vault, collection):
    with bulk.another_queue(queue_max_messages=str(ROOM)), bulk.open_queue() as queue:
        taken, told, jobs = [], [], []

        def note(now):
            taken.append(now.received)
            told.append(now.waiting)

        def submit():
            jobs.append(collection.ingest_bulk(PHOTOS, progress=note))

        submitting = threading.Thread(target=submit)
        submitting.start()
        wait_until(lambda: queue.depth().ready >= ROOM, what="a full queue")
        time.sleep(1.5)  # longer than the keyholder waits before it tries again
        held_up = taken[-1]
        assert ROOM <= held_up < 2 * ROOM  # a broker tells its publishers a little late
        assert submitting.is_alive()
        assert told[-1].startswith("the queue is full")
        [known] = [one.waiting for one in vault.imports() if one.state == "receiving"]
        assert known == told[-1]
        bulk.worker(prefetch="4", linger_seconds="0.05")
        submitting.join(60)
        end = jobs[0].wait()
        assert (end.received, end.done, end.duplicates, end.failed) == (len(PHOTOS), len(PHOTOS), 0, 0)
        assert (end.waiting, told[-1]) == ("", "")
        assert_holds(collection, PHOTOS)


@IN_A_FILE
@pytest.mark.timeout(120)
def test_imports_that_ended_long_ago_are_forgotten_unless_something_of_theirs_can_be_tried_again(
    bulk, vault, collection
):
    def known():
        return {one.import_id for one in vault.imports()}

    bad = collection.ingest_bulk(PHOTOS[3:4])
    with bulk.open_queue() as queue:
        consumer = queue.consumer(prefetch=1)
        assert consumer.take(10).reject("UNAVAILABLE")
        consumer.close()
    bulk.worker()
    good = collection.ingest_bulk(PHOTOS[:3])
    assert (good.wait().done, bad.wait().failed) == (3, 1)
    time.sleep(1)  # the account counts whole seconds, and looks once an hour
    bulk.restart_keyholder(keep_jobs_days="1e-9")
    wait_until(lambda: good.import_id not in known(), what="oblivion")
    assert bad.info().failed == 1
    with pytest.raises(NotFound):
        good.info()
    assert bad.drop_failed() == 1
    bulk.restart_keyholder()
    wait_until(lambda: bad.import_id not in known(), what="oblivion")
    del bulk["keyholder"].environment["keep_jobs_days"]  # for the next start; this one looks once an hour
    assert_holds(collection, PHOTOS[:3])


@IN_A_FILE
def test_a_keyholder_without_a_queue_says_so(bulk, vault, collection):
    url = bulk["keyholder"].environment["queue_url"]
    bulk.restart_keyholder(queue_url="")
    try:
        with pytest.raises(blindsight.errors.InvalidArgument, match="has no queue"):
            collection.ingest_bulk(PHOTOS)
        with pytest.raises(blindsight.errors.InvalidArgument, match="has no queue"):
            vault.imports()
    finally:
        bulk.restart_keyholder(queue_url=url)
