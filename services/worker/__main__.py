"""Runs a worker: `python -P -m services.worker`, settings from the environment."""

from __future__ import annotations

import asyncio
from functools import partial

from blindsight.errors import InvalidArgument
from blindsight.runtime import host, service
from blindsight.runtime.leaving import leave
from blindsight.runtime.retry import retry
from blindsight.runtime.shutdown import Shutdown
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest.envelope import Envelopes
from blindsight.trusted.ingest.pipeline import Pipeline
from blindsight.trusted.ingest.worker_token import WorkerAccess
from blindsight.trusted.keyring import keyfile, passphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.queue import Queue, open_queue
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.worker import metrics
from services.worker.gate import Gate
from services.worker.keyholder_client import KeyholderClient
from services.worker.preparing import Preparer
from services.worker.quarantine import Quarantine
from services.worker.settings import WorkerSettings
from services.worker.worker import Worker


def main() -> int:
    """Works until it is told to stop; returns the exit code."""
    return service.run(
        "worker", WorkerSettings, _work, registry=metrics.REGISTRY, keep_memory=host.keep_photos
    )


async def _work(settings: WorkerSettings) -> None:
    if not settings.queue_url:
        raise InvalidArgument("no queue, want BLINDSIGHT_WORKER_QUEUE_URL")
    keys = keyfile.read(settings.key_file, passphrase.from_file(settings.passphrase_file))
    with open_queue(settings.queue_url, settings.queue, settings.certificates) as queue:
        await _take_from(queue, settings, keys)


async def _take_from(queue: Queue, settings: WorkerSettings, keys: KeySet) -> None:
    keyholder = KeyholderClient(settings.keyholder_address, WorkerAccess(keys), settings.connection)
    storage = StorageClient(settings.storage_address, settings.connection, fence=keyholder.fence)
    evaluator = EvaluatorClient(settings.evaluator_address, settings.connection)
    crypto = Crypto(keys, settings.processes, metrics.CRYPTO)
    try:
        shutdown = Shutdown(settings.drain_seconds)
        if not await _admitted(keyholder, shutdown.begun):
            return
        vault = Vault(keys, storage, evaluator)
        gate = Gate(2 * crypto.processes)
        quarantine = Quarantine(keyholder, gate, crypto.warm, settings.tries)
        pipeline = Pipeline(Items(vault, storage), crypto, Writer(vault, storage, crypto))
        admitted = partial(keyholder.report, ())
        preparer = Preparer(Envelopes(keys), vault, pipeline, gate, quarantine, admitted)
        consumer = await asyncio.to_thread(queue.consumer, settings.prefetch)
        service.announce("ready", {"address": ""})
        await Worker(consumer, preparer, pipeline, keyholder, settings).run(shutdown)
    finally:
        await asyncio.to_thread(crypto.close)
        for peer in (keyholder, storage, evaluator):
            await peer.close()


async def _admitted(keyholder: KeyholderClient, stopping: asyncio.Event) -> bool:
    """Waits until the keyholder accepts this worker; returns False if told to stop before.

    A worker of another key set could open no message, and would reject those that other workers can open.

    Raises:
        PermissionDenied: if this worker has another key set.
    """
    asking = asyncio.create_task(retry("keyholder", lambda: keyholder.report(())))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if asking.done():
        asking.result()
        return True
    asking.cancel()
    return False


if __name__ == "__main__":
    leave(main)
