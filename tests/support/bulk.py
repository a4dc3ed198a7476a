"""Services with a queue and workers, as real processes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.client import Collection
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.trusted.queue import Queue, QueueOptions, open_queue
from blindsight.trusted.queue.settings import QueueSettings
from services.keyholder.settings import KEY_FILE_NAME
from support.services import Process, Services
from support.storage import Client

# Short enough that a test need not wait long for what a killed worker held.
SILENCE_SECONDS = 2


@dataclass
class BulkServices(Services):
    """The three services, a queue at `queue_url`, and as many workers as are started.

    Args:
        queue_url: of the queue; empty for one in a file of this folder.
        queue: settings of the queue beside the name.
    """

    queue_url: str = ""
    queue: dict[str, str] = field(default_factory=dict)
    workers: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue_url = self.queue_url or f"embedded:{self.folder / 'queue.db'}"
        own = {**self.settings.get("keyholder", {}), **self._queue_settings()}
        self.settings = {**self.settings, "keyholder": own}

    def _queue_settings(self) -> dict[str, str]:
        return {"queue_url": self.queue_url, "queue_silence_seconds": str(SILENCE_SECONDS), **self.queue}

    @property
    def opened_with(self) -> QueueOptions:
        """What a test opens the queue with."""
        return QueueSettings.model_validate(self._queue_settings()).queue

    def worker_settings(self, **settings: str) -> dict[str, str]:
        """Settings of a worker of these services."""
        keyholder = self.keyholder_settings("keyholder")
        return {
            "key_file": str(Path(keyholder["data"]) / KEY_FILE_NAME),
            "passphrase_file": keyholder["passphrase_file"],
            "keyholder_address": self["keyholder"].environment.get("worker_address", self.address()),
            **self.tls("worker"),
            "storage_address": self.address("storage"),
            "evaluator_address": self.address("evaluator"),
            "processes": "1",
            "linger_seconds": "0.3",
            **self._queue_settings(),
            **settings,
        }

    def worker(self, **settings: str) -> Process:
        """Starts a worker."""
        process = self.launch_worker(**settings)
        process.ready()
        return process

    def launch_worker(self, **settings: str) -> Process:
        """Starts a worker, and does not wait until it is ready."""
        own = self.worker_settings(**settings)
        process = Process("worker", own, self.folder / "worker.log", extra=self.extra)
        process.launch()
        self.workers.append(process)
        return process

    def restart_keyholder(self, **settings: str) -> None:
        """Stops it, and starts it with these settings beside or instead of those that it had."""
        keyholder = self["keyholder"]
        keyholder.stop()
        keyholder.environment |= settings
        keyholder.start()

    @contextmanager
    def another_queue(self, **settings: str) -> Iterator[None]:
        """Keyholder and workers have another queue until the end of the block.

        Args:
            settings: of the queue.
        """
        before = self.queue_url, self.queue
        name = f"test.{os.urandom(6).hex()}"
        if self.at_broker:
            self.queue = {**self.queue, "queue_name": name, **settings}
        else:
            self.queue_url, self.queue = f"embedded:{self.folder / name}", {**self.queue, **settings}
        had = {**self["keyholder"].environment}
        self.restart_keyholder(**self._queue_settings())
        try:
            yield
        finally:
            self.stop_workers()
            self.queue_url, self.queue = before
            self["keyholder"].environment = had
            self.restart_keyholder()

    @property
    def at_broker(self) -> bool:
        """Whether the queue is at a broker."""
        return self.queue_url.startswith("amqp")

    def stop_workers(self) -> None:
        """SIGTERM to all of them."""
        while self.workers:
            self.workers.pop().stop()

    def stop(self) -> dict[str, int]:
        """Stops the workers first."""
        self.stop_workers()
        return super().stop()

    def stored(self) -> int:
        """Items that storage has, whatever the keyholder knows of them."""
        with Client(self.address("storage")) as client:
            answer = client.stub.ListCollections(storage_pb2.ListCollectionsRequest())
        return sum(one.items for one in answer.collections)

    def open_queue(self) -> Queue:
        """The queue, for a test to look at."""
        return open_queue(self.queue_url, self.opened_with)

    def held(self) -> int | None:
        """Messages that workers have; None where the queue does not tell."""
        with self.open_queue() as queue:
            return queue.depth().unacknowledged

    def deaths(self, number: int) -> int:
        """Trials of item `number` of any job that have no end yet."""
        query = "SELECT COUNT(*) FROM trials WHERE number = ?"
        return self._account(query, number)

    def reported(self) -> int:
        """Items that the account has as stored, read from its file while the keyholder may be stopped."""
        return self._account("SELECT SUM(done) FROM jobs")

    def _account(self, query: str, *values: int) -> int:
        path = self.folder / "keyholder" / "jobs.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchone()[0] or 0


def assert_holds(collection: Collection, photos: Sequence[tuple[str, bytes]]) -> None:
    """The collection has exactly these photos, each byte for byte under its name."""
    assert collection.describe().items == len(photos)
    report = collection.ingest(photos)  # tells the ids of what is there
    assert (report.stored, report.duplicates) == (0, len(photos))
    for (name, data), item in zip(photos, report.items, strict=True):
        original = collection.get(item.id)
        assert (original.name, original.data) == (name, data)
