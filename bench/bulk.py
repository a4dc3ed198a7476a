"""Workers of bulk ingest for running services, each on a processor of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from processes import Services, stop, tree_cpu_seconds

_CATCHES, _QUIET_SECONDS = 5, 60.0


@dataclass(frozen=True, slots=True)
class Workers:
    """Running workers.

    Attributes:
        processes: their main processes.
        queue: file of the queue.
        start_seconds: from the start of the first until the last is ready.
        log: log file of all workers.
    """

    processes: list[psutil.Process]
    queue: Path
    start_seconds: float
    log: Path

    def cpu_seconds(self) -> float:
        """Returns the processor time of all workers since they started."""
        return sum(map(tree_cpu_seconds, self.processes))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends the workers while the block runs, so that nothing is taken from the queue.

        Raises:
            RuntimeError: if they hold a lock on the queue's file at every attempt.
        """
        for _ in range(_CATCHES):
            # After a large job they return free pages of the file to the disk, which takes long.
            _unlocked(self.queue, _QUIET_SECONDS)
            self._signal(psutil.Process.suspend)
            if _unlocked(self.queue, 0):
                break
            self._signal(psutil.Process.resume)
        else:
            raise RuntimeError(f"the workers held the queue's file each of {_CATCHES} times")
        try:
            yield
        finally:
            self._signal(psutil.Process.resume)

    def _signal(self, send: Callable[[psutil.Process], None]) -> None:
        for worker in self.processes:
            for one in (worker, *worker.children(recursive=True)):
                send(one)

    def conflicts(self) -> int:
        """Returns how many appends were refused because of a concurrent one, and encrypted again."""
        return self.log.read_text().count('"append_conflict"')


@contextmanager
def working(services: Services, count: int) -> Iterator[Workers]:
    """Runs workers on the services' own queue while the block runs.

    Raises:
        RuntimeError: if a worker does not start; with its log.
    """
    cores = sorted(os.sched_getaffinity(0))
    started = time.perf_counter()
    with ExitStack() as running:
        made = [
            running.enter_context(_started(services, cores[number % len(cores)])) for number in range(count)
        ]
        for one in made:
            if one.stdout is None or not one.stdout.readline():
                raise RuntimeError(f"a worker did not start: {_log(services).read_text().strip()}")
        seconds = time.perf_counter() - started
        processes = [psutil.Process(one.pid) for one in made]
        yield Workers(processes, queue_file(services), seconds, _log(services))


@contextmanager
def _started(services: Services, core: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a worker on one processor, where it has one process for decoding and encrypting."""
    keyholder = services.folder / "keyholder"
    settings = {
        "key_file": keyholder / "keys.bsky",
        "passphrase_file": keyholder / "passphrase",
        "queue_url": f"embedded:{queue_file(services)}",
        **{f"{name}_address": address for name, address in services.addresses.items()},
    }
    environment = {f"BLINDSIGHT_WORKER_{name.upper()}": str(value) for name, value in settings.items()}
    with _log(services).open("ab") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), sys.executable, "-P", "-m", "services.worker"],
            env=os.environ | environment | {"BLINDSIGHT_WORKER_DIE_WITH_PARENT": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield process
    finally:
        stop(process)


def queue_bytes(services: Services) -> int:
    """Returns the bytes of the queue's pages in use, whether in its file or in the write-ahead log."""
    with closing(sqlite3.connect(queue_file(services))) as db:
        pages, spare, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - spare) * size)


def queue_file(services: Services) -> Path:
    """Returns the embedded queue's file of services that `blindsight up` runs."""
    return services.folder / "queue" / "ingest.db"


def _unlocked(queue: Path, busy_seconds: float) -> bool:
    """Returns whether a publisher can write to the queue."""
    with closing(sqlite3.connect(queue, timeout=busy_seconds, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        db.execute("ROLLBACK")
    return True


def _log(services: Services) -> Path:
    return services.folder / "workers.log"
