"""The broker restarts in the middle of a bulk ingest, and sees nothing of what it keeps."""

import threading

import pytest
from support.bulk import assert_holds
from support.canaries import Needles, contents
from support.photos import many

from blindsight.errors import Unavailable

PHOTOS = many(60)
pytestmark = pytest.mark.parametrize("services", ["rabbitmq"], indirect=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_is_restarted_while_photos_come_and_go_loses_nothing(bulk, collection, broker, how):
    bulk.worker(prefetch="8", linger_seconds="0.05")
    taken = threading.Event()
    jobs = []

    def submit():
        jobs.append(collection.ingest_bulk(PHOTOS, progress=lambda now: now.received >= 20 and taken.set()))

    submitting = threading.Thread(target=submit)
    submitting.start()
    assert taken.wait(60)
    getattr(broker, how)()
    broker.start()
    submitting.join(180)
    end = jobs[0].wait()
    assert (end.state, end.received, end.done, end.duplicates, end.failed) == ("finished", 60, 60, 0, 0)
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
def test_a_keyholder_that_starts_without_its_broker_serves_and_imports_once_it_is_there(
    bulk, vault, collection, broker
):
    broker.stop()
    try:
        bulk.restart_keyholder()
        assert collection.ingest(PHOTOS[:1]).stored == 1
        with pytest.raises(Unavailable, match="queue of bulk ingest does not answer"):
            vault.imports()
    finally:
        broker.start()
    job = collection.ingest_bulk(PHOTOS[:3])  # waits for the queue by itself
    bulk.worker()
    assert (job.wait().done, job.info().duplicates) == (2, 1)
