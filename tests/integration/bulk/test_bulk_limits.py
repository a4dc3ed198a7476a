"""What workers cannot do ends among the dead letters, is told, and can be tried again; queues fill up."""

import contextlib
import threading
import time

import psutil
import pytest
from support.bulk import BulkServices, assert_holds
from support.photos import encoded, many, photo
from support.services import wait_until

import blindsight

PHOTOS = many(12)
DELIVERIES = 2


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    queue = {"queue_max_deliveries": str(DELIVERIES), "queue_max_messages": "5"}
    running = BulkServices(tmp_path_factory.mktemp("limits"), queue=queue)
    try:
        yield running.start()
    finally:
        running.stop()


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


@pytest.mark.timeout(180)
def test_a_photo_that_kills_its_process_every_time_is_given_up_and_can_be_tried_again(bulk, collection):
    worker = bulk.worker()
    with killing(worker):
        job = collection.ingest_bulk([("deadly.png", encoded(photo("chelsea"), "PNG"))])
        end = job.wait()
    assert (end.done, end.failed) == (0, 1)
    (failed,) = job.failed()
    assert (failed.name, failed.reason) == ("deadly.png", "UNAVAILABLE")
    assert "killed the process" in failed.message
    assert worker.popen.poll() is None
    assert job.retry() == 1
    assert (job.wait().done, job.info().failed) == (1, 0)
    assert list(job.failed()) == []


@pytest.mark.timeout(180)
def test_photos_that_die_with_their_workers_are_listed_and_can_be_tried_again(bulk, collection):
    job = collection.ingest_bulk(PHOTOS[:5])
    for _ in range(DELIVERIES):
        worker = bulk.worker(linger_seconds="60")  # it holds all of them, and stores none
        wait_until(lambda: bulk.held() == 5, what="all photos with the worker")
        worker.kill()
        wait_until(lambda: bulk.held() == 0, what="the worker's lease to run out")
    end = job.wait()
    assert (end.done, end.failed) == (0, 5)
    assert {item.reason for item in job.failed()} == {"UNAVAILABLE"}
    assert all(item.message.startswith("delivered 2 times: ") for item in job.failed())
    assert job.retry() == 5
    bulk.worker()
    assert (job.wait().done, job.info().failed) == (5, 0)
    assert_holds(collection, PHOTOS[:5])


@pytest.mark.timeout(180)
def test_a_full_queue_slows_the_stream_down_and_loses_nothing(bulk, collection):
    taken = []
    jobs = []

    def submit():
        jobs.append(collection.ingest_bulk(PHOTOS, progress=lambda now: taken.append(now.received)))

    submitting = threading.Thread(target=submit)
    submitting.start()
    wait_until(lambda: taken and taken[-1] == 5, what="a full queue")
    time.sleep(2)
    assert taken[-1] == 5
    assert submitting.is_alive()
    bulk.worker()
    submitting.join(60)
    end = jobs[0].wait()
    assert (end.received, end.done, end.failed) == (12, 12, 0)
    assert_holds(collection, PHOTOS)


def test_a_keyholder_without_a_queue_says_so(tmp_path):
    running = BulkServices(tmp_path)
    running.settings = {}
    try:
        with blindsight.connect(running.start().address()) as vault:
            collection = vault.create_collection("photos")
            with pytest.raises(blindsight.errors.InvalidArgument, match="has no queue"):
                collection.ingest_bulk(PHOTOS)
            with pytest.raises(blindsight.errors.InvalidArgument, match="has no queue"):
                vault.imports()
    finally:
        running.stop()
