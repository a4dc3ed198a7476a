"""How much a worker takes at a time."""

import os

import pytest

from blindsight.ciphertext.header import SEALED_MAGIC
from blindsight.trusted.queue import Message, open_queue
from services.worker.in_flight import InFlight

JOB = b"a job's sixteen."


@pytest.fixture
def deliveries(tmp_path):
    """Three, of 1000 bytes each."""
    with open_queue(f"embedded:{tmp_path / 'queue.db'}") as queue:
        body = SEALED_MAGIC + bytes(1000 - len(SEALED_MAGIC))
        queue.publish(*(Message(os.urandom(16), JOB, body) for _ in range(3)))
        yield queue.consumer(3).take_some(5, 3)


def test_a_worker_is_full_of_photos(deliveries):
    in_flight = InFlight(2)
    for delivery in deliveries[:2]:
        assert not in_flight.full
        in_flight.add(delivery)
    assert (in_flight.full, in_flight.count) == (True, 2)
    in_flight.remove(deliveries[:1])
    assert (in_flight.full, in_flight.count) == (False, 1)


def test_a_worker_is_full_of_bytes(deliveries):
    in_flight = InFlight(100, most_bytes=2000)
    in_flight.add(deliveries[0])
    assert not in_flight.full
    in_flight.add(deliveries[1])
    assert in_flight.full
    in_flight.remove(deliveries[:2])
    assert (in_flight.full, in_flight.count) == (False, 0)
