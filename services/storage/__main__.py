"""Runs the storage service: `python -P -m services.storage`, settings from the environment."""

from __future__ import annotations

from blindsight.runtime import host, service
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.leaving import leave
from services.storage import metrics
from services.storage.executors import Threads
from services.storage.garbage import Sweeper
from services.storage.servicer import SERVICE_NAME, StorageServicer
from services.storage.settings import StorageSettings
from services.storage.stores import STORES, Store


def main() -> int:
    """Serves until it is told to stop; returns the exit code."""
    return service.run(
        "storage", StorageSettings, _serve, registry=metrics.REGISTRY, keep_memory=host.keep_photos
    )


async def _serve(settings: StorageSettings) -> None:
    folder = settings.data
    with locked_folder(folder, f"folder {folder} is in use by another storage process"):
        store = STORES[settings.store](folder, settings.max_disk_bytes, settings.reserve_bytes)
        _measure(store)
        threads = Threads(settings.read_streams, settings.stall_seconds)
        sweeper = Sweeper(store, threads)
        servicer = StorageServicer(store, threads, sweeper, settings)
        try:
            sweeper.begin()  # a deletion that the last process did not finish
            await service.serve(settings, [SERVICE_NAME], servicer.register)
        finally:
            await sweeper.stop()
            threads.close()
            store.close()


def _measure(store: Store) -> None:
    metrics.COLLECTIONS.read_by(lambda: store.status().collections)
    metrics.ITEMS.read_by(lambda: store.status().items)
    metrics.DISK_BYTES.read_by(lambda: store.status().disk_bytes)
    metrics.LOG_BYTES.read_by(lambda: store.status().log_bytes)


if __name__ == "__main__":
    leave(main)
