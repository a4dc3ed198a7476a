"""What the keyholder keeps beside collections, under other keys: tokens, tenants, alarms, audit, imports."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from blindsight.trusted.ingest.envelope import Envelopes
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.sealing import Sealer
from services.keyholder.alarms.store import FILE_NAME as ALARMS_FILE_NAME
from services.keyholder.alarms.store import AlarmStore
from services.keyholder.rotation.rechaining import rechain
from services.keyholder.settings import JOBS_FILE_NAME
from services.keyholder.tenants.store import FILE_NAME as TENANTS_FILE_NAME
from services.keyholder.tenants.store import TenantStore
from services.keyholder.tokens.store import FILE_NAME as TOKENS_FILE_NAME
from services.keyholder.tokens.store import TokenStore

# Collections by id, and the ids of their copies.
Twins = Mapping[bytes, bytes]


def reseal(data: Path, folder: Path, old: KeySet, new: KeySet, twins: Twins) -> None:
    """Writes into a folder what another one keeps, under other keys and of the copies of its collections.

    Blocking.  Nobody writes to these files meanwhile.
    """
    _tokens(data / TOKENS_FILE_NAME, folder / TOKENS_FILE_NAME, old, new, twins)
    _alarms(data / ALARMS_FILE_NAME, folder / ALARMS_FILE_NAME, old, new)
    _tenants(data / TENANTS_FILE_NAME, folder / TENANTS_FILE_NAME, old, new)
    rechain(data, folder, old, new, twins)
    if (data / JOBS_FILE_NAME).exists():
        _jobs(data / JOBS_FILE_NAME, folder / JOBS_FILE_NAME, old, new, twins)


def _tokens(source: Path, target: Path, old: KeySet, new: KeySet, twins: Twins) -> None:
    target.unlink(missing_ok=True)  # of a try that was cut off
    with (
        closing(TokenStore(source, Sealer(old.subkey("tokens")))) as kept,
        closing(TokenStore(target, Sealer(new.subkey("tokens")))) as made,
    ):
        for grant in kept.load():
            limited = grant.collections
            if limited is not None:  # also for those that are gone: for none is not for all
                limited = frozenset(twins.get(one, one) for one in limited)
            made.add(replace(grant, collections=limited))


def _tenants(source: Path, target: Path, old: KeySet, new: KeySet) -> None:
    """Seals anew what opens the key files of tenants, which stay as they are."""
    target.unlink(missing_ok=True)
    with (
        closing(TenantStore(source, Sealer(old.subkey("tenants")))) as kept,
        closing(TenantStore(target, Sealer(new.subkey("tenants")))) as made,
    ):
        for entry in kept.load():
            made.save(entry)


def _alarms(source: Path, target: Path, old: KeySet, new: KeySet) -> None:
    target.unlink(missing_ok=True)  # it has alarms of the copies, which the collections do not have
    with (
        closing(AlarmStore(source, Sealer(old.subkey("alarms")))) as kept,
        closing(AlarmStore(target, Sealer(new.subkey("alarms")))) as made,
    ):
        for alarm in kept.load():
            made.save(alarm)


def _jobs(source: Path, target: Path, old: KeySet, new: KeySet, twins: Twins) -> None:
    target.unlink(missing_ok=True)
    before, after = Envelopes(old), Envelopes(new)
    with closing(sqlite3.connect(source)) as kept, closing(sqlite3.connect(target)) as made:
        kept.backup(made)
        for collection_id, twin_id in twins.items():
            made.execute(
                "UPDATE jobs SET collection_id = ? WHERE collection_id = ?", (twin_id, collection_id)
            )
        query = (
            "SELECT job_id, items.job, items.number, sealed_name FROM items JOIN jobs ON job = jobs.number"
        )
        for job_id, job, number, sealed in made.execute(f"{query} WHERE sealed_name != x''").fetchall():
            name = after.seal_name(job_id, number, before.open_name(job_id, number, sealed))
            made.execute("UPDATE items SET sealed_name = ? WHERE job = ? AND number = ?", (name, job, number))
        made.commit()
        made.execute("VACUUM")  # else pages that are free may have names as they were sealed before
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
