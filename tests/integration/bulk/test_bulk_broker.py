"""The broker restarts in the middle of a bulk ingest."""

import os
import threading

import pytest
from support.bulk import BulkServices, assert_holds
from support.photos import many

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
