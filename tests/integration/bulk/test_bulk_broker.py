"""The broker restarts in the middle of a bulk ingest, and sees nothing of what it keeps."""

import os
import threading

import pytest
from support.bulk import BulkServices, assert_holds
from support.canaries import Needles, contents
from support.photos import many

import blindsight
from blindsight.errors import Unavailable

PHOTOS = many(120)


@pytest.fixture(scope="module")
def services(broker, tmp_path_factory):
    queue = {"queue_name": f"test.{os.urandom(6).hex()}", "queue_max_deliveries": "20"}
    running = BulkServices(tmp_path_factory.mktemp("restarts"), queue_url=broker.url, queue=queue)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_is_restarted_while_photos_come_and_go_loses_nothing(bulk, collection, broker, how):
    bulk.worker(prefetch="8", linger_seconds="0.05")
    taken = threading.Event()
    jobs = []

    def submit():
        jobs.append(collection.ingest_bulk(PHOTOS, progress=lambda now: now.received >= 30 and taken.set()))

    submitting = threading.Thread(target=submit)
    submitting.start()
    assert taken.wait(60)
    getattr(broker, how)()
    broker.start()
    submitting.join(180)
    end = jobs[0].wait()
    assert (end.state, end.received, end.done, end.duplicates, end.failed) == ("finished", 120, 120, 0, 0)
    assert_holds(collection, PHOTOS)


@pytest.mark.timeout(120)
def test_the_files_of_the_broker_hold_no_byte_of_a_photo_and_no_name(bulk, collection, broker_folder):
    photos = PHOTOS[:10]
    job = collection.ingest_bulk(photos)
    places = [(8, 24), (200, 216), (-60, -44)]
    needles = Needles(
        {
            "name": [b"canary-name", collection.name.encode()],
            "photo": [data[start:stop] for _, data in photos for start, stop in places],
        }
    )
    kept = contents(broker_folder)
    job_ids = Needles({"job": [job.import_id.encode()]})
    assert job_ids.found_in(kept) != {}  # the messages are there, and are what was searched
    assert needles.found_in(kept) == {}
    bulk.worker()
    assert job.wait().done == len(photos)


@pytest.mark.timeout(240)
def test_a_keyholder_that_starts_without_its_broker_serves_and_imports_once_it_is_there(broker, tmp_path):
    queue = {"queue_name": f"test.{os.urandom(6).hex()}"}
    running = BulkServices(tmp_path, queue_url=broker.url, queue=queue)
    broker.stop()
    try:
        with blindsight.connect(running.start().address()) as vault:
            collection = vault.create_collection("photos")
            assert collection.ingest(PHOTOS[:1]).stored == 1
            with pytest.raises(Unavailable, match="queue of bulk ingest does not answer"):
                vault.imports()
            broker.start()
            job = collection.ingest_bulk(PHOTOS[:3])  # waits for the queue by itself
            running.worker()
            assert (job.wait().done, job.info().duplicates) == (2, 1)
    finally:
        running.stop()
