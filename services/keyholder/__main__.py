"""Runs the keyholder: `python -P -m services.keyholder`, settings from the environment."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc.aio

from blindsight.errors import KeyFileError
from blindsight.parameters import COLLECTION_SETS
from blindsight.runtime import host, service
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.leaving import leave
from blindsight.runtime.uploads import Uploads
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.keyring import keyfile, keys, passphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.queue import open_queue
from services.keyholder import servicer
from services.keyholder.audit import servicer as audit_servicer
from services.keyholder.audit.audit import Audit
from services.keyholder.audit.log import AuditLog
from services.keyholder.imaging import servicer as imaging
from services.keyholder.jobs import servicer as jobs
from services.keyholder.jobs.store import JobStore
from services.keyholder.lease import Lease, holder_id
from services.keyholder.limits.budgets import FILE_NAME as LIMITS_FILE_NAME
from services.keyholder.limits.budgets import Budgets
from services.keyholder.limits.limits import Limiter
from services.keyholder.machine import Machine
from services.keyholder.metrics import KEYGEN_SECONDS, REGISTRY
from services.keyholder.service import Keyholder
from services.keyholder.settings import KeyholderSettings
from services.keyholder.tenants import servicer as tenants_servicer
from services.keyholder.tenants.tenants import Tenants
from services.keyholder.tokens import servicer as tokens_servicer
from services.keyholder.tokens.access import UserAccess
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.tokens import Tokens

SERVICES = (
    servicer.SERVICE_NAME,
    jobs.SERVICE_NAME,
    jobs.WORKERS_NAME,
    imaging.SERVICE_NAME,
    tokens_servicer.SERVICE_NAME,
    audit_servicer.SERVICE_NAME,
    tenants_servicer.SERVICE_NAME,
)
# They store what comes while more is sent.
FLOWING = (f"/{servicer.SERVICE_NAME}/Ingest", f"/{jobs.SERVICE_NAME}/CreateImport")


def main() -> int:
    """Serves until it is told to stop; returns the exit code."""
    return service.run(
        "keyholder", KeyholderSettings, _serve, registry=REGISTRY, keep_memory=host.keep_messages
    )


async def _serve(settings: KeyholderSettings) -> None:
    # Two keyholders of one folder would give the same numbers and slots to different items.
    with locked_folder(settings.data, f"another keyholder is using {settings.data}"):
        issuer = settings.issuer()
        opened = _open_keys(settings)
        tokens = Tokens(settings.data, Sealer(opened.subkey("tokens")))
        running = Running()
        limiter = Limiter(Budgets(settings.data / LIMITS_FILE_NAME))
        machine = Machine(
            StorageClient(settings.storage_address, settings.connection),
            EvaluatorClient(settings.evaluator_address, settings.connection),
            settings.workers,
            settings.combine_seconds,
            settings.imaging_bytes,
        )
        lease = Lease(opened.key_id, holder_id(settings.data), settings.retry_seconds)
        keyholder = Keyholder(opened, machine, settings.data, lease)
        tenants = Tenants(
            settings.data, keyholder, machine, tokens, running, limiter, settings.retry_seconds, _measure
        )
        audit = Audit(AuditLog(settings.data, opened, settings.audit_bytes, settings.audit_days))
        keyholder.warnings.append(lambda: audit.alarm)
        try:
            await audit.start()
            if settings.queue_url:
                store = JobStore(settings.jobs_file)
                opened_queue = partial(open_queue, settings.queue_url, settings.queue, settings.certificates)
                await keyholder.open_imports(store, opened_queue, settings.keep_jobs_days)
            await asyncio.gather(machine.start(), keyholder.start())
            if issuer is not None:
                await issuer.start()
            await service.serve(
                settings,
                SERVICES,
                partial(_register, keyholder, tenants, tokens, running, limiter, audit),
                on_drain=tenants.drain,
                uploads=Uploads(
                    settings.upload_bytes, FLOWING, settings.stall_seconds, settings.idle_seconds
                ),
                access=UserAccess(
                    settings.access,
                    tokens,
                    running,
                    audit,
                    limiter,
                    tenants.enter,
                    required=settings.require_tokens,
                    issuer=issuer,
                    tenant_of=tenants.id_of,
                    find=tenants.collections,
                ),
            )
        finally:
            await tenants.close()
            await keyholder.close()
            await machine.close()
            await audit.close()
            tokens.close()
            limiter.close()


def _open_keys(settings: KeyholderSettings) -> KeySet:
    secret = passphrase.from_file(settings.passphrase_file)
    if settings.create_keys and not settings.key_file.exists():
        if settings.jobs_file.exists():  # a restore that was cut off, or a key file that was moved
            found = f"{settings.jobs_file} but no {settings.key_file}"
            raise KeyFileError(f"{found}: want the key file of that data, or a new folder for new keys")
        keyfile.write(settings.key_file, keys.create(_measure), secret)
    return keyfile.read(settings.key_file, secret)


def _measure(parameter_set: str, seconds: float) -> None:
    scheme = COLLECTION_SETS[parameter_set].scheme.name.lower()
    KEYGEN_SECONDS.labels(scheme, parameter_set).observe(seconds)


def _register(
    keyholder: Keyholder,
    tenants: Tenants,
    tokens: Tokens,
    running: Running,
    limiter: Limiter,
    audit: Audit,
    server: grpc.aio.Server,
) -> None:
    servicer.register(tenants.current, server)
    jobs.register(keyholder.keys, lambda: tenants.current().imports, keyholder.lease, server)
    imaging.register(lambda: tenants.current().processing, lambda: tenants.current().allowance, server)
    tokens_servicer.register(tokens, running, limiter, lambda: tenants.current().vault, server)
    tenants_servicer.register(tenants, server)
    audit_servicer.register(audit.log, lambda: keyholder.vault, server)


if __name__ == "__main__":
    leave(main)
