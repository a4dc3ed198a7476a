"""Whatever dies in the middle of a bulk ingest, every photo is stored once, byte for byte."""

import random
import threading
import time

import pytest
from PIL import Image
from support.bulk import assert_holds
from support.photos import encoded, many
from support.services import wait_until
from support.tap import Tap

from blindsight.errors import NotFound

PHOTOS = many(60)
SMALL_BATCHES = {"prefetch": "8", "linger_seconds": "0.05"}
# More than a broker gives a message out by itself, which is 20 times.
KILLS = 25
# Larger than what a worker asks storage before it appends, smaller than an append.
LESS_THAN_AN_APPEND = 40_000
AT_A_BROKER = pytest.mark.parametrize("services", ["rabbitmq"], indirect=True)


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
    assert not job.info().ended
    bulk.worker()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_a_worker_that_is_killed_between_the_commit_and_the_report_stores_nothing_twice(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    before = bulk.stored()
    with Tap(bulk.address("storage")) as tap, tap.silence_after(LESS_THAN_AN_APPEND, for_ever=True):
        worker = bulk.worker(storage_address=tap.address)
        wait_until(lambda: bulk.stored() > before, what="an append of which the worker heard nothing")
        worker.kill()
    assert job.info().done == 0
    bulk.worker()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_a_message_that_comes_again_brings_no_deleted_photo_back(bulk, collection):
    job = collection.ingest_bulk(PHOTOS[:2])
    with bulk.open_queue() as queue:
        consumer = queue.consumer(prefetch=2)
        messages = [consumer.take(10).message for _ in PHOTOS[:2]]
        consumer.close()
        bulk.worker()
        job.wait()
        gone = collection.search(PHOTOS[0][1], k=1).results[0][0].id
        collection.delete(gone)
        queue.publish(*messages)  # as after a crash before the acknowledgement
        wait_until(lambda: not queue.depth().ready and not bulk.held(), what="messages that are settled")
    with pytest.raises(NotFound):
        collection.get(gone)
    assert collection.describe().items == 1
    assert job.info().done == 2


@pytest.mark.timeout(240)
def test_storage_that_is_killed_twice_and_starts_again_loses_nothing(bulk, collection):
    job = collection.ingest_bulk(PHOTOS)
    bulk.worker(**SMALL_BATCHES)
    for done in (10, 30):
        wait_until(lambda done=done: job.info().done >= done, what=f"{done} photos")
        bulk["storage"].kill()
        assert not job.info().ended
        bulk["storage"].start()
    finished(job, collection)


@pytest.mark.timeout(240)
def test_a_keyholder_that_is_killed_while_it_takes_photos_and_while_somebody_watches_goes_on(
    bulk, collection
):
    bulk.worker(**SMALL_BATCHES)
    taken = threading.Event()
    jobs, ends = [], []

    def submit():
        jobs.append(collection.ingest_bulk(PHOTOS, progress=lambda now: now.received >= 20 and taken.set()))
        ends.append(jobs[0].wait())

    submitting = threading.Thread(target=submit)
    submitting.start()
    assert taken.wait(60)
    bulk["keyholder"].kill()
    bulk["keyholder"].start()
    wait_until(lambda: jobs, 60, what="the end of the submission")
    bulk["keyholder"].kill()
    bulk["keyholder"].start()
    submitting.join(120)
    assert ends[0].state == "finished"
    finished(jobs[0], collection)


@AT_A_BROKER
@pytest.mark.timeout(400)
def test_workers_that_are_killed_in_a_row_lose_nothing_and_make_no_photo_fail(bulk, collection):
    photos = PHOTOS[:20]
    job = collection.ingest_bulk(photos)
    moments = random.Random(7)
    with bulk.open_queue() as queue:
        for _ in range(KILLS):
            worker = bulk.worker(linger_seconds="60")
            wait_until(lambda: queue.depth().ready == 0, what="photos with the worker")
            time.sleep(moments.uniform(0, 0.2))
            worker.kill()
            wait_until(lambda: queue.depth().ready == len(photos), what="photos that are given back")
        consumer = queue.consumer(prefetch=1)
        assert consumer.take(10).count == KILLS + 1
        consumer.close()
    bulk.worker()
    finished(job, collection, photos)


@AT_A_BROKER
@pytest.mark.timeout(240)
def test_a_photo_that_kills_its_worker_each_time_is_given_up_and_its_neighbours_are_stored(bulk, collection):
    slow = encoded(Image.linear_gradient("L").resize((6000, 6000)), "PNG", compress_level=1)
    photos = [*PHOTOS[:5], ("deadly.png", slow), *PHOTOS[5:10]]
    job = collection.ingest_bulk(photos)
    with bulk.open_queue() as queue:
        worker = bulk.worker(linger_seconds="60")
        wait_until(lambda: queue.depth().ready == 0, what="all photos with the worker")
        worker.kill()
    for deaths in range(1, 4):
        worker = bulk.worker(tries="3")
        wait_until(lambda deaths=deaths: bulk.deaths(5) == deaths, what="a trial of the photo")
        worker.kill()  # as a machine without memory does
    bulk.worker(tries="3")
    end = job.wait()
    assert (end.done, end.duplicates, end.failed) == (10, 0, 1)
    (failed,) = job.failed()
    assert (failed.name, failed.reason) == ("deadly.png", "UNAVAILABLE")
    assert failed.message == "opened alone 3 times, it killed the process that did so each time"
    assert job.retry() == 1
    finished(job, collection, photos)


@AT_A_BROKER
@pytest.mark.timeout(240)
def test_a_worker_whose_cable_to_the_broker_is_cut_loses_nothing_and_comes_back(bulk, collection, broker):
    job = collection.ingest_bulk(PHOTOS)
    with Tap(f"127.0.0.1:{broker.port}") as tap:
        far = bulk.worker(
            queue_url=broker.url.replace(f"127.0.0.1:{broker.port}", tap.address), **SMALL_BATCHES
        )
        wait_until(lambda: job.info().done >= 10, what="the first batches")
        with tap.cut():
            near = bulk.worker(**SMALL_BATCHES)
            finished(job, collection)  # with what the worker beyond the cable has, whose answers are lost
        near.stop()
        more = many(70)[len(PHOTOS) :]
        again = collection.ingest_bulk(more)
        assert (again.wait().done, again.info().duplicates) == (len(more), 0)
        far.stop()
    assert_holds(collection, [*PHOTOS, *more])


@AT_A_BROKER
@pytest.mark.timeout(240)
def test_a_full_disk_at_storage_holds_the_import_up_until_there_is_room(bulk, storage_disk, collection):
    job = collection.ingest_bulk(PHOTOS)
    storage_disk.resize(storage_disk.used_bytes + 1_000_000)
    log = bulk.folder / "worker.log"
    began = log.stat().st_size
    bulk.worker(**SMALL_BATCHES)
    wait_until(lambda: b"RESOURCE_EXHAUSTED" in log.read_bytes()[began:], what="a full disk")
    stuck = job.info()
    assert (stuck.state, stuck.failed) == ("running", 0)
    assert stuck.done < len(PHOTOS)
    storage_disk.resize(storage_disk.used_bytes + 200_000_000)
    finished(job, collection)


@pytest.mark.timeout(240)
def test_three_workers_at_once_share_the_work_and_store_nothing_twice(bulk, collection):
    job = collection.ingest_bulk([*PHOTOS, *PHOTOS])
    for worker in [bulk.launch_worker(**SMALL_BATCHES) for _ in range(3)]:
        worker.ready()
    end = job.wait()
    assert (end.received, end.done, end.duplicates, end.failed) == (120, 60, 60, 0)
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
    assert worker.stop() in (0, 1)  # 1: its processes did not end in time
    assert '"event": "drained", "given_back": ' in worker.log.read_text()
    bulk.worker()
    finished(job, collection)
