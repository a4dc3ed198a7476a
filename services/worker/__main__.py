"""Starts a worker: `python -P -m services.worker`, settings from the environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from blindsight.errors import BlindsightError, InvalidArgument
from blindsight.runtime import host as processes
from blindsight.runtime import logs
from blindsight.runtime import processpool as workers
from blindsight.runtime.metrics import serve as serve_metrics
from blindsight.runtime.shutdown import Shutdown
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.ingest.envelope import Envelopes
from blindsight.trusted.ingest.lookups import Lookups
from blindsight.trusted.ingest.worker_token import WorkerAccess
from blindsight.trusted.keyring import keyfile, passphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.queue import Queue, open_queue
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.worker import metrics
from services.worker.committing import Storing
from services.worker.gate import Room
from services.worker.keyholder_client import KeyholderClient
from services.worker.preparing import Opening
from services.worker.quarantine import Trials
from services.worker.retry import patiently
from services.worker.settings import WorkerSettings
from services.worker.worker import Worker


def main() -> int:
    """Works until told to stop; a failure to start is one line."""
    workers.end_on_sigterm()
    processes.keep_photos()
    try:
        settings = WorkerSettings.from_environment()
        if settings.die_with_parent:
            workers.die_with_parent()
        logs.configure("worker", level=settings.log_level)
        if not settings.queue_url:
            raise InvalidArgument("no queue, want BLINDSIGHT_WORKER_QUEUE_URL")
        serve_metrics(metrics.REGISTRY, settings)
        keys = keyfile.read(settings.key_file, passphrase.from_file(settings.passphrase_file))
        with open_queue(settings.queue_url, settings.queue) as queue:
            asyncio.run(_work(settings, keys, queue))
    except (BlindsightError, OSError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1
    return 0


async def _work(settings: WorkerSettings, keys: KeySet, queue: Queue) -> None:
    storage = StorageClient(settings.storage_address, *settings.connection)
    evaluator = EvaluatorClient(settings.evaluator_address, *settings.connection)
    keyholder = KeyholderClient(settings.keyholder_address, WorkerAccess(keys), *settings.connection)
    crypto = Crypto(keys, settings.processes, metrics.CRYPTO)
    try:
        shutdown = Shutdown(settings.drain_seconds)
        if not await _admitted(keyholder, shutdown.begun):
            return
        vault = Vault(keys, storage, evaluator)
        room = Room(2 * crypto.processes)
        trials = Trials(keyholder, room, crypto.warm, settings.tries)
        opening = Opening(Envelopes(keys), vault, Lookups(storage), crypto, room, trials)
        storing = Storing(storage, Writer(vault, storage, crypto))
        consumer = await asyncio.to_thread(queue.consumer, settings.prefetch)
        print(json.dumps({"event": "ready", "address": "", "process_id": os.getpid()}), flush=True)
        logs.get().info("ready")
        await Worker(consumer, opening, storing, keyholder, settings).run(shutdown)
    finally:
        await asyncio.to_thread(crypto.close)
        for peer in (keyholder, storage, evaluator):
            await peer.close()


async def _admitted(keyholder: KeyholderClient, stopping: asyncio.Event) -> bool:
    """Waits for the keyholder's word; false when told to stop before.

    A worker of another key set could open nothing, and would refuse what others can.

    Raises:
        PermissionDenied: when it is one.
    """
    asking = asyncio.create_task(patiently("keyholder", lambda: keyholder.report(())))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if asking.done():
        asking.result()
        return True
    asking.cancel()
    return False


if __name__ == "__main__":
    sys.exit(main())
