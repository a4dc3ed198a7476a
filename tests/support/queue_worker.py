"""A process that publishes to or consumes from a queue, for tests to kill: queue_worker.py TASK JSON.

It prints a line for every message: the id in hex, and for a consumer the count of deliveries.
"""

from __future__ import annotations

import json
import os
import sys
import time

from blindsight.errors import Unavailable
from blindsight.runtime.signals import die_with_parent
from blindsight.trusted.queue import Message, Queue, QueueOptions, open_queue

# `hold` takes its time before it settles, `die` kills itself instead, `ack` settles at once.
TASKS = ("publish", "hold", "die", "ack")
WORK_SECONDS = 3


def body_of(message_id: bytes, size: int) -> bytes:
    """Sealed-looking bytes that tell whether they are whole."""
    return b"BSSB" + (message_id * (size // len(message_id) + 1))[:size]


def publish(queue: Queue, job_id: bytes, size: int, count: int) -> None:
    for _ in range(count):
        message_id = os.urandom(16)
        print("began", message_id.hex(), flush=True)
        queue.publish(Message(message_id, job_id, body_of(message_id, size)))
        print("done", message_id.hex(), flush=True)


def consume(queue: Queue, task: str, prefetch: int) -> None:
    consumer = queue.consumer(prefetch)
    print("ready", flush=True)
    while True:
        try:
            delivery = consumer.take(1)
        except Unavailable:
            continue
        if delivery is None:
            continue
        print("took", delivery.message.message_id.hex(), delivery.count, flush=True)
        if task == "die":
            os.kill(os.getpid(), 9)
        if task == "ack":
            print("settled", delivery.ack(), flush=True)
        else:
            time.sleep(WORK_SECONDS)
            print("settled", delivery.ack(), flush=True)


def main() -> None:
    die_with_parent()
    task, given = sys.argv[1], json.loads(sys.argv[2])
    with open_queue(given["url"], QueueOptions(**given["settings"])) as queue:
        if task == "publish":
            publish(queue, bytes.fromhex(given["job_id"]), given["size"], given["count"])
        else:
            consume(queue, task, given.get("prefetch", 1))


if __name__ == "__main__":
    main()
