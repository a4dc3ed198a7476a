"""Runs the storage service: `python -P -m services.storage`, settings from the environment."""

from __future__ import annotations

import asyncio
import sys

from blindsight.errors import BlindsightError
from blindsight.runtime import host as processes
from blindsight.runtime import logs, server
from blindsight.runtime import processpool as workers
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.metrics import serve as serve_metrics
from blindsight.runtime.shutdown import Shutdown
from services.storage import metrics
from services.storage.executors import Threads
from services.storage.garbage import Sweeper
from services.storage.servicer import SERVICE_NAME, StorageServicer
from services.storage.settings import StorageSettings
from services.storage.stores import STORES, Store


async def serve(settings: StorageSettings) -> None:
    """Serves a data folder until SIGTERM or SIGINT; running calls finish.

    Raises:
        BlindsightError: when the folder, the database or the address is not as it must be.
    """
    folder = settings.data
    with locked_folder(folder, f"folder {folder} is in use by another storage process"):
        store = STORES[settings.store](folder, settings.max_disk_bytes)
        _measure(store)
        threads = Threads(settings.read_streams, settings.stall_seconds)
        sweeper = Sweeper(store, threads)
        servicer = StorageServicer(store, threads, sweeper, settings)
        try:
            sweeper.begin()  # a deletion that the last process did not finish
            service = server.Service([SERVICE_NAME], servicer.register, settings.keepalive_seconds)
            shutdown = Shutdown(settings.drain_seconds)
            await service.run(settings.address, shutdown, insecure=settings.insecure)
        finally:
            await sweeper.stop()
            threads.close()
            store.close()


def _measure(store: Store) -> None:
    metrics.COLLECTIONS.read_by(lambda: store.status().collections)
    metrics.ITEMS.read_by(lambda: store.status().items)
    metrics.DISK_BYTES.read_by(lambda: store.status().disk_bytes)
    metrics.LOG_BYTES.read_by(lambda: store.status().log_bytes)


def main() -> int:
    """Returns the exit code: 0 after a drained stop, 1 with one line when it could not start."""
    workers.end_on_sigterm()
    processes.keep_photos()
    try:
        settings = StorageSettings.from_environment()
        if settings.die_with_parent:
            workers.die_with_parent()
        logs.configure("storage", level=settings.log_level)
        serve_metrics(metrics.REGISTRY, settings)
        asyncio.run(serve(settings))
    except (BlindsightError, OSError) as error:
        sys.stderr.write(f"blindsight storage: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
