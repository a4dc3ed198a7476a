"""Runs the keyholder: `python -P -m services.keyholder`, settings from the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc.aio

from blindsight.errors import KeyFileError
from blindsight.parameters import COLLECTION_SETS
from blindsight.runtime import host, paths, service
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.leaving import leave
from blindsight.runtime.uploads import Uploads
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.keyring import keyfile, keys, passphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.queue import open_queue
from blindsight.trusted.secrets import Secret
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
from services.keyholder.rotation import servicer as rotation_servicer
from services.keyholder.rotation import switching
from services.keyholder.rotation.rotation import Rotation
from services.keyholder.service import Keyholder
from services.keyholder.settings import KeyholderSettings
from services.keyholder.tenants import servicer as tenants_servicer
from services.keyholder.tenants.tenants import Tenants
from services.keyholder.tokens import servicer as tokens_servicer
from services.keyholder.tokens.access import UserAccess
from services.keyholder.tokens.oidc.issuer import Issuer
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
    rotation_servicer.SERVICE_NAME,
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
        machine = Machine(
            StorageClient(settings.storage_address, settings.connection),
            EvaluatorClient(settings.evaluator_address, settings.connection),
            settings.workers,
            settings.combine_seconds,
            settings.imaging_bytes,
        )
        starting = asyncio.create_task(_start(machine, issuer))
        again: _Again | None = _Again()
        try:
            while again is not None:
                again = await _serve_keys(settings, machine, issuer, starting, again)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await machine.close()


async def _start(machine: Machine, issuer: Issuer | None) -> None:
    await machine.start()
    if issuer is not None:
        await issuer.start()


@dataclass(frozen=True, slots=True)
class _Again:
    """What is to be served again.

    Attributes:
        bound: the addresses where it was served, by setting.
        failures: how often the keys could not be replaced in between.
    """

    bound: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0


async def _serve_keys(
    settings: KeyholderSettings,
    machine: Machine,
    issuer: Issuer | None,
    starting: asyncio.Task[None],
    before: _Again,
) -> _Again | None:
    """Serves until it is told to stop, or the keys that it serves are to be replaced by others.

    Args:
        starting: the start of the machine and the issuer.
        before: how it was served until now.

    Returns:
        how it is to be served again; None if it was told to stop.
    """
    switching.finish(settings.data)
    opened = _open_keys(settings)
    tokens = Tokens(settings.data, Sealer(opened.subkey("tokens")))
    running = Running()
    limiter = Limiter(Budgets(settings.data / LIMITS_FILE_NAME))
    keyholder = _keyholder(settings, machine, opened, settings.data)
    tenants = Tenants(
        settings.data, keyholder, machine, tokens, running, limiter, settings.retry_seconds, _measure
    )
    audit = Audit(AuditLog(settings.data, opened, settings.audit_bytes, settings.audit_days))
    keyholder.warnings.append(lambda: audit.alarm)
    rotation = Rotation(
        keyholder,
        settings.data,
        partial(_keyholder, settings, machine),
        partial(_passphrase_again, settings.passphrase_file),
        before.failures,
    )
    settled = False
    try:
        await audit.start()
        if settings.queue_url:
            store = JobStore(settings.jobs_file)
            opened_queue = partial(open_queue, settings.queue_url, settings.queue, settings.certificates)
            await keyholder.open_imports(store, opened_queue, settings.keep_jobs_days)
        await asyncio.gather(asyncio.shield(starting), keyholder.start())
        rotation.resume()
        served, shutdown = await service.serve(
            settings.model_copy(update=dict(before.bound)),
            SERVICES,
            partial(_register, keyholder, tenants, tokens, running, limiter, audit, rotation),
            on_drain=tenants.drain,
            uploads=Uploads(settings.upload_bytes, FLOWING, settings.stall_seconds, settings.idle_seconds),
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
            enough=rotation.ready,
            quiet=bool(before.bound),
        )
        settled = not shutdown.signalled and await rotation.settle()
    finally:
        await rotation.close()
        await tenants.close()
        await keyholder.close()
        await audit.close()
        tokens.close()
        limiter.close()
    settled = settled and await asyncio.to_thread(rotation.commit)
    return None if shutdown.signalled else _Again(served, 0 if settled else before.failures + 1)


def _keyholder(settings: KeyholderSettings, machine: Machine, keys: KeySet, folder: Path) -> Keyholder:
    lease = Lease(keys.key_id, holder_id(settings.data), settings.retry_seconds)
    return Keyholder(keys, machine, folder, lease)


def _open_keys(settings: KeyholderSettings) -> KeySet:
    secret = passphrase.from_file(settings.passphrase_file)
    if settings.create_keys and not settings.key_file.exists():
        if settings.jobs_file.exists():  # a restore that was cut off, or a key file that was moved
            found = f"{settings.jobs_file} but no {settings.key_file}"
            raise KeyFileError(f"{found}: want the key file of that data, or a new folder for new keys")
        keyfile.write(settings.key_file, keys.create(_measure), secret)
    return keyfile.read(settings.key_file, secret)


def _passphrase_again(file: Path) -> Secret:
    """Reads the passphrase once more, for the file of other keys.

    Raises:
        KeyFileError: if it cannot be read again.
    """
    if paths.is_pipe(file):
        raise KeyFileError(
            f"the passphrase came by a pipe, {file}, want a file: other keys are sealed by it, too"
        )
    return passphrase.from_file(file)


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
    rotation: Rotation,
    server: grpc.aio.Server,
) -> None:
    servicer.register(tenants.current, server)
    jobs.register(keyholder.keys, lambda: tenants.current().imports, keyholder.lease, server)
    imaging.register(lambda: tenants.current().processing, lambda: tenants.current().allowance, server)
    tokens_servicer.register(tokens, running, limiter, lambda: tenants.current().vault, server)
    tenants_servicer.register(tenants, server)
    audit_servicer.register(audit.log, lambda: keyholder.vault, server)
    rotation_servicer.register(rotation, server)


if __name__ == "__main__":
    leave(main)
