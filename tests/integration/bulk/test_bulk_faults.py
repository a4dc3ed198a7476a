"""Whatever dies in the middle of a bulk ingest, every photo is stored once, byte for byte."""

import random
import threading
import time

import pytest
from support.bulk import assert_holds
from support.photos import many
from support.services import wait_until

PHOTOS = many(120)
SMALL_BATCHES = {"prefetch": "8", "linger_seconds": "0.05"}


def finished(job, collection, photos=PHOTOS):
    """The import ends, each photo is counted once, and all of them are there."""
    end = job.wait()
    assert (end.state, end.received, end.done, end.duplicates, end.failed) == (
        "finished",
        len(photos),
        len(photos),
        0,
        0,
    )
    assert_holds(collection, photos)


@pytest.mark.timeout(240)
def test_a_worker_that_is_killed_in_the_middle_of_a_batch_loses_nothing(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    worker = bulk.worker(**SMALL_BATCHES)
    wait_until(lambda: job.info().done >= 10, what="the first batches")
    worker.kill()
    bulk.worker()
    finished(job, collection)


def soon(condition, seconds=2.0):
    """Whether it comes true before long."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


@pytest.mark.timeout(240)
def test_a_worker_that_is_killed_between_the_commit_and_the_report_stores_nothing_twice(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    before = bulk.stored() - bulk.reported()
    worker = bulk.worker(prefetch="4", linger_seconds="0.05")
    keyholder = bulk["keyholder"].process()
    moments = random.Random(7)
    for _ in range(60):
        # Between the worker's question and its report the keyholder falls silent; storage commits.
        time.sleep(moments.uniform(0.05, 0.4))
        keyholder.suspend()
        hit = soon(lambda: bulk.stored() - bulk.reported() > before)
        if hit:
            worker.kill()
        keyholder.resume()
        if hit:
            break
    assert hit
    assert not job.info().ended
    bulk.worker()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_storage_that_is_killed_twice_and_starts_again_loses_nothing(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    bulk.worker(**SMALL_BATCHES)
    for done in (10, 50):
        wait_until(lambda done=done: job.info().done >= done, what=f"{done} photos")
        bulk["storage"].kill()
        time.sleep(1)
        bulk["storage"].start()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_a_keyholder_that_is_killed_while_it_takes_photos_continues_the_same_import(bulk, collection):
    bulk.worker(**SMALL_BATCHES)
    taken = threading.Event()
    jobs = []

    def submit():
        jobs.append(collection.ingest_bulk(PHOTOS, progress=lambda now: now.received >= 30 and taken.set()))

    submitting = threading.Thread(target=submit)
    submitting.start()
    assert taken.wait(60)
    bulk["keyholder"].kill()
    time.sleep(1)
    bulk["keyholder"].start()
    submitting.join(120)
    finished(jobs[0], collection)


@pytest.mark.timeout(240)
def test_who_watches_goes_on_watching_after_the_keyholder_was_killed(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    ends = []
    watching = threading.Thread(target=lambda: ends.append(job.wait()))
    watching.start()
    bulk.worker(**SMALL_BATCHES)
    wait_until(lambda: job.info().done >= 20, what="the first batches")
    bulk["keyholder"].kill()
    bulk["keyholder"].start()
    watching.join(120)
    assert ends[0].state == "finished"
    finished(job, collection)


@pytest.mark.timeout(300)
def test_ten_workers_that_are_killed_in_a_row_lose_nothing(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    for death in range(10):
        worker = bulk.worker(**SMALL_BATCHES)
        before = job.info().done
        time.sleep(0.15 * death)
        worker.kill()
        assert job.info().done >= before
    bulk.worker()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_three_workers_at_once_share_the_work_and_store_nothing_twice(bulk, collection):
    job = collection.ingest_bulk([*PHOTOS, *PHOTOS])
    for _ in range(3):
        bulk.worker(**SMALL_BATCHES)
    end = job.wait()
    assert (end.received, end.done, end.duplicates, end.failed) == (240, 120, 120, 0)
    assert_holds(collection, PHOTOS)


@pytest.mark.timeout(120)
def test_a_worker_that_is_told_to_stop_finishes_what_it_has(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    worker = bulk.worker(prefetch="16")
    wait_until(lambda: job.info().done >= 10, what="the first batch")
    assert worker.stop() == 0
    assert not job.info().ended
    bulk.worker()
    finished(job, collection)


@pytest.mark.timeout(120)
def test_a_worker_without_the_time_to_finish_gives_back_what_it_holds(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    worker = bulk.worker(prefetch="16", linger_seconds="60", drain_seconds="0")
    wait_until(lambda: bulk.held() in (16, None), what="messages in hand")
    assert worker.stop() == 0
    assert '"event": "drained", "given_back": ' in worker.log.read_text()
    bulk.worker()
    finished(job, collection)
