"""Jobs that ended long ago are forgotten, unless their dead letters can still be tried again."""

from contextlib import closing

import pytest

from blindsight.trusted.ingest.records import ItemOutcome
from blindsight.trusted.queue import Message, open_queue
from blindsight.wire.workers import ItemState
from services.keyholder.jobs.retention import DAY_SECONDS, Retention
from services.keyholder.jobs.store import JobStore

COLLECTION = bytes(range(16))


@pytest.fixture
def store(tmp_path):
    with closing(JobStore(tmp_path / "jobs.db")) as opened:
        yield opened


@pytest.fixture
def queue(tmp_path):
    with open_queue(f"embedded:{tmp_path / 'queue.db'}") as opened:
        yield opened


def ended(store, request_id):
    """A job of one item that has failed."""
    job = store.open(COLLECTION, request_id)
    store.add_items(
        job.job_id, [(ItemOutcome(0, bytes(16), ItemState.FAILED, "INVALID_IMAGE", "why"), b"name")]
    )
    return store.complete(job.job_id)


def known(store):
    return {job.request_id for job in store.page(10)[0]}


@pytest.mark.parametrize(("keep_days", "left"), [(1.0, {"a"}), (-2 / DAY_SECONDS, set())])
def test_a_job_is_kept_as_long_as_the_setting_says(store, queue, keep_days, left):
    ended(store, "a")
    Retention(store, queue, keep_days).look()
    assert known(store) == left


def test_a_job_with_dead_letters_is_kept_until_they_are_dropped(store, queue):
    job = ended(store, "dead")
    ended(store, "other")
    store.open(COLLECTION, "receiving")
    queue.publish(Message(bytes(16), job.job_id, b"BSSB"))
    delivery = queue.consumer(1).take(5)
    assert delivery.reject("INVALID_IMAGE")
    retention = Retention(store, queue, -2 / DAY_SECONDS)
    retention.look()
    assert known(store) == {"dead", "receiving"}
    queue.drop(job.job_id)
    retention.look()
    assert known(store) == {"receiving"}
