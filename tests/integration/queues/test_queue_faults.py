"""Processes that publish and consume are killed and stopped: nothing is lost, whatever the queue."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress

from support.queue_worker import body_of
from support.queues import JOB, Place, line, patiently_taken, published, worker
from support.services import wait_until

from blindsight.trusted.queue import Queue


def test_what_a_killed_consumer_held_comes_to_another(place: Place, queue: Queue) -> None:
    with worker(place, "hold") as process:
        line(process, "ready")
        (sent,) = published(queue, 1)
        assert line(process, "took") == [sent.message_id.hex(), "1"]
        process.kill()
        delivery = patiently_taken(queue.consumer(prefetch=1))
    assert (delivery.message, delivery.count) == (sent, 2)
    assert delivery.ack()


def test_a_message_that_kills_its_workers_does_not_kill_them_for_ever(place: Place) -> None:
    place = place.but(max_deliveries=2)
    with place.open() as queue:
        (poison,) = published(queue, 1)
        for count in (1, 2):
            with worker(place, "die") as process:
                assert line(process, "took") == [poison.message_id.hex(), str(count)]
                process.wait()
        wait_until(lambda: queue.depth().dead == 1)
        (letter,) = queue.dead_letters(JOB)
        assert (letter.message_id, letter.reason) == (poison.message_id, "delivered 2 times")
        assert queue.consumer(prefetch=1).take(0.3) is None


def test_a_consumer_that_slept_too_long_is_told_that_its_message_is_anothers(
    place: Place, queue: Queue
) -> None:
    with worker(place, "hold") as process:
        line(process, "ready")
        (sent,) = published(queue, 1)
        line(process, "took")
        process.send_signal(signal.SIGSTOP)
        delivery = patiently_taken(queue.consumer(prefetch=1))
        assert (delivery.message, delivery.count) == (sent, 2)
        process.send_signal(signal.SIGCONT)
        assert line(process, "settled") == ["False"]
    assert delivery.ack()


def test_a_killed_publisher_leaves_whole_messages_and_all_that_were_confirmed(
    place: Place, queue: Queue
) -> None:
    size, kills = 1_000_000, 2
    began: set[str] = set()
    confirmed: set[str] = set()
    for number in range(kills):
        with worker(place, "publish", job_id=JOB.hex(), size=size, count=1000) as process:
            line(process, "began")
            timer = threading.Timer(random.Random(number).uniform(0.05, 0.4), process.kill)
            timer.start()
            assert process.stdout is not None
            for text in process.stdout:
                if text.endswith("\n"):  # else the process died while it wrote the line
                    word, message_id = text.split()
                    (confirmed if word == "done" else began).add(message_id)
            timer.join()
    found: Counter[str] = Counter()
    consumer = queue.consumer(prefetch=2)
    while (delivery := consumer.take(1)) is not None:
        sent = delivery.message
        assert sent.body == body_of(sent.message_id, size)
        found[sent.message_id.hex()] += 1
        assert delivery.ack()
    assert confirmed
    assert confirmed <= set(found)
    assert len(found) == found.total() <= len(confirmed) + kills  # each kill may leave one unconfirmed


def test_processes_share_a_queue(place: Place, queue: Queue) -> None:
    count, publishers, consumers = 50, 2, 2
    with ExitStack() as stack:
        working = [stack.enter_context(worker(place, "ack", prefetch=4)) for _ in range(consumers)]
        for process in working:
            line(process, "ready")
        for _ in range(publishers):
            stack.enter_context(worker(place, "publish", job_id=JOB.hex(), size=1000, count=count))
        took: Counter[str] = Counter()
        deadline = time.monotonic() + 30
        threads = [threading.Thread(target=collect, args=(process, took), daemon=True) for process in working]
        for thread in threads:
            thread.start()
        while took.total() < count * publishers and time.monotonic() < deadline:
            time.sleep(0.1)
        wait_until(lambda: queue.depth().ready == 0)
    for thread in threads:
        thread.join()
    assert len(took) == took.total() == count * publishers
    assert queue.dead_letters() == []


def collect(process, took: Counter[str]) -> None:
    with suppress(ValueError):  # the pipe is closed at the end
        for text in process.stdout:
            if text.startswith("took"):
                took[text.split()[1]] += 1
