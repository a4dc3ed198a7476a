"""How much a worker takes in hand."""

import os

import pytest

from blindsight.ciphertext.header import SEALED_MAGIC
from blindsight.trusted.queue import Message, open_queue
from services.worker.in_flight import Hands

JOB = b"a job's sixteen."


@pytest.fixture
def deliveries(tmp_path):
    """Three, of 1000 bytes each."""
    with open_queue(f"embedded:{tmp_path / 'queue.db'}") as queue:
        body = SEALED_MAGIC + bytes(1000 - len(SEALED_MAGIC))
        queue.publish(*(Message(os.urandom(16), JOB, body) for _ in range(3)))
        yield queue.consumer(3).take_some(5, 3)


def test_hands_are_full_of_photos(deliveries):
    hands = Hands(2)
    for delivery in deliveries[:2]:
        assert not hands.full
        hands.take(delivery)
    assert (hands.full, hands.held) == (True, 2)
    hands.let_go(deliveries[:1])
    assert (hands.full, hands.held) == (False, 1)


def test_hands_are_full_of_bytes(deliveries):
    hands = Hands(100, most_bytes=2000)
    hands.take(deliveries[0])
    assert not hands.full
    hands.take(deliveries[1])
    assert hands.full
    hands.let_go(deliveries[:2])
    assert (hands.full, hands.held) == (False, 0)
