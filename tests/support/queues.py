"""What tests of queues share: messages, and worker processes to kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blindsight.errors import Unavailable
from blindsight.trusted.queue import Consumer, Delivery, Message, Queue, QueueOptions, open_queue
from support.queue_worker import body_of

SCRIPT = Path(__file__).with_name("queue_worker.py")
JOB, OTHER_JOB = b"a job's sixteen.", b"another sixteen."
TAKE_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """Where a queue is, and how it is set."""

    url: str
    settings: QueueOptions

    def open(self) -> Queue:
        return open_queue(self.url, self.settings)

    def but(self, **changes: Any) -> Place:
        """The same place with other settings."""
        return replace(self, settings=replace(self.settings, **changes))


def message(size: int = 100, job_id: bytes = JOB) -> Message:
    message_id = os.urandom(16)
    return Message(message_id, job_id, body_of(message_id, size))


def published(queue: Queue, count: int, job_id: bytes = JOB) -> list[Message]:
    made = [message(job_id=job_id) for _ in range(count)]
    for one in made:
        queue.publish(one)
    return made


def taken(consumer: Consumer) -> Delivery:
    """The next delivery, with patience."""
    delivery = consumer.take(TAKE_SECONDS)
    assert delivery is not None
    return delivery


def patiently_taken(consumer: Consumer, tries: int = 60) -> Delivery:
    """The next delivery, whatever happens to the broker meanwhile."""
    for _ in range(tries):
        try:
            delivery = consumer.take(1)
        except Unavailable:
            continue
        if delivery is not None:
            return delivery
    raise AssertionError("nothing was delivered")


@contextmanager
def worker(place: Place, task: str, **given: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that works on a queue; it is dead afterwards."""
    arguments = json.dumps({"url": place.url, "settings": asdict(place.settings), **given})
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), task, arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str], word: str) -> list[str]:
    """The rest of the next line that begins with a word."""
    assert process.stdout is not None
    for text in process.stdout:
        first, *rest = text.split()
        if first == word:
            return rest
    raise AssertionError(f"the process ended without saying {word}")
