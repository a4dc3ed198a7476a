"""Starts the keyholder: `python -P -m services.keyholder`, settings from the environment."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import grpc.aio

from blindsight.errors import BlindsightError
from blindsight.parameters import COLLECTION_SETS
from blindsight.runtime import host as processes
from blindsight.runtime import logs
from blindsight.runtime import processpool as workers
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.metrics import serve as serve_metrics
from blindsight.runtime.server import Service, check_bind
from blindsight.runtime.shutdown import Shutdown
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.keyring import keyfile, keys, passphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.queue import open_queue
from services.keyholder.imaging import servicer as processing
from services.keyholder.jobs import servicer as imports
from services.keyholder.jobs.store import JobStore
from services.keyholder.metrics import KEYGEN_SECONDS, REGISTRY
from services.keyholder.service import Keyholder
from services.keyholder.servicer import SERVICE_NAME, register
from services.keyholder.settings import KeyholderSettings


def main() -> int:
    """Serves until told to stop; a failure to start is one line."""
    workers.end_on_sigterm()
    processes.keep_messages()
    try:
        settings = KeyholderSettings.from_environment()
        if settings.die_with_parent:
            workers.die_with_parent()
        logs.configure("keyholder", level=settings.log_level)
        check_bind(settings.address, insecure=settings.insecure)  # before the work of a start
        serve_metrics(REGISTRY, settings)
        # Two keyholders of one folder would number and place items twice.
        with locked_folder(settings.data, f"another keyholder is using {settings.data}"):
            asyncio.run(_serve(settings, _open_keys(settings)))
    except (BlindsightError, OSError) as error:
        print(f"keyholder: {error}", file=sys.stderr)
        return 1
    return 0


def _open_keys(settings: KeyholderSettings) -> KeySet:
    secret = passphrase.from_file(settings.passphrase_file)
    if settings.create_keys and not settings.key_file.exists():
        keyfile.write(settings.key_file, keys.create(_measure), secret)
    return keyfile.read(settings.key_file, secret)


def _measure(parameter_set: str, seconds: float) -> None:
    scheme = COLLECTION_SETS[parameter_set].scheme.name.lower()
    KEYGEN_SECONDS.labels(scheme, parameter_set).observe(seconds)


async def _serve(settings: KeyholderSettings, opened: KeySet) -> None:
    storage = StorageClient(settings.storage_address, *settings.connection)
    evaluator = EvaluatorClient(settings.evaluator_address, *settings.connection)
    keyholder = Keyholder(
        opened,
        storage,
        evaluator,
        settings.workers,
        settings.data,
        settings.combine_seconds,
        settings.imaging_bytes,
    )
    try:
        if settings.queue_url:
            store = JobStore(settings.jobs_file)
            opened_queue = partial(open_queue, settings.queue_url, settings.queue)
            await keyholder.open_imports(store, opened_queue, settings.keep_jobs_days)
        await keyholder.start()
        service = Service(
            [SERVICE_NAME, imports.SERVICE_NAME, processing.SERVICE_NAME],
            lambda server: _register(keyholder, server),
            settings.keepalive_seconds,
            on_drain=keyholder.drain,
        )
        shutdown = Shutdown(settings.drain_seconds)
        await service.run(settings.address, shutdown, insecure=settings.insecure)
    finally:
        await keyholder.close()


def _register(keyholder: Keyholder, server: grpc.aio.Server) -> None:
    register(keyholder, server)
    imports.register(keyholder.keys, lambda: keyholder.imports, server)
    processing.register(keyholder.processing, server)


if __name__ == "__main__":
    sys.exit(main())
